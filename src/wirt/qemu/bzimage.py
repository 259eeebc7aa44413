"""The uncompressed kernel inside a bzImage.

QEMU enters an uncompressed kernel directly (PVH), which saves the guest from unpacking itself.
Where the payload lies: "The Linux/x86 Boot Protocol", fields ``setup_sects``, ``payload_offset``
and ``payload_length``; its last four bytes are the unpacked size.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Mapping

from wirt.errors import Invalid, Unsupported

Unpack = Callable[[bytes], bytes]
LZ4_LEGACY = b"\x02\x21\x4c\x18"
ZSTD = b"\x28\xb5\x2f\xfd"


def payload(image: bytes) -> tuple[bytes, int]:
    """The compressed kernel and its unpacked size in bytes. Raises :class:`Invalid`."""
    if image[0x202:0x206] != b"HdrS" or len(image) < 0x250:
        raise Invalid("not a Linux kernel image", hint="a bzImage for x86 is needed")
    (protocol,) = struct.unpack_from("<H", image, 0x206)
    if protocol < 0x0208:
        raise Invalid(f"the kernel's boot protocol {protocol:#x} is older than 2.08")
    start = (image[0x1F1] + 1) * 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    body = image[start + offset : start + offset + length]
    if len(body) != length or length < 8:
        raise Invalid("the kernel image is cut short")
    return body[:-4], struct.unpack_from("<I", body, length - 4)[0]


def unpack(image: bytes, others: Mapping[bytes, Unpack]) -> bytes:
    """The ELF kernel. ``others``: unpackers by magic for what the standard library lacks.

    Raises :class:`Invalid` for a damaged image, :class:`Unsupported` for an unknown compression.
    """
    body, size = payload(image)
    known: dict[bytes, Unpack] = {
        b"\x1f\x8b": lambda data: zlib.decompressobj(31).decompress(data),
        b"\xfd7zXZ\0": lambda data: lzma.LZMADecompressor().decompress(data),
        **others,
    }
    for magic, unpacker in known.items():
        if body.startswith(magic):
            kernel = unpacker(body)
            break
    else:
        raise Unsupported(f"the kernel is compressed in an unknown way ({body[:4].hex()})")
    if len(kernel) != size or not kernel.startswith(b"\x7fELF"):
        raise Invalid(f"the kernel unpacks to {len(kernel)} bytes where {size} were expected")
    return kernel
