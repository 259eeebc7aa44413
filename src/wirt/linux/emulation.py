"""Programs of other processors: what binfmt_misc would run them with.

See Documentation/admin-guide/binfmt-misc.rst of the kernel. Only an emulator with the flag F counts
for containers: it was opened when it was registered, so it is found in any root file system.
"""

from __future__ import annotations

import struct
from pathlib import Path

PLACE = Path("/proc/sys/fs/binfmt_misc")
_LITTLE, _BIG = 1, 2
_MACHINES = {
    "386": (1, _LITTLE, 3), "amd64": (2, _LITTLE, 62), "arm": (1, _LITTLE, 40),
    "arm64": (2, _LITTLE, 183), "loong64": (2, _LITTLE, 258), "mips64le": (2, _LITTLE, 8),
    "ppc64le": (2, _LITTLE, 21), "riscv64": (2, _LITTLE, 243), "s390x": (2, _BIG, 22),
}  # fmt: skip
"""Class, byte order and number of the machine in an ELF header (elf.h), by Go's GOARCH."""
_EXECUTABLE, _SHARED = 2, 3


def emulates(architecture: str, place: Path = PLACE) -> bool:
    """Whether programs for this architecture (Go's GOARCH) run on this host by an emulator."""
    known = _MACHINES.get(architecture)
    if known is None:
        return False
    try:
        if (place / "status").read_text().strip() != "enabled":
            return False
        entries = [
            path.read_text() for path in place.iterdir() if path.name not in {"register", "status"}
        ]
    except OSError:
        return False
    heads = [_head(*known, kind=kind) for kind in (_EXECUTABLE, _SHARED)]
    return any(all(_takes(entry, head) for head in heads) for entry in entries)


def _head(bits: int, order: int, machine: int, *, kind: int) -> bytes:
    """The first 20 bytes of a program."""
    ident = b"\x7fELF" + bytes([bits, order, 1]) + bytes(9)
    return ident + struct.pack(">HH" if order == _BIG else "<HH", kind, machine)


def _takes(entry: str, head: bytes) -> bool:
    """Whether a registered emulator, as the kernel shows it, takes such a program."""
    first, *lines = entry.splitlines() or [""]
    said = dict(line.partition(" ")[::2] for line in lines)
    flags = said.get("flags:", "")
    if first.strip() != "enabled" or "F" not in flags:
        return False
    try:
        offset = int(said.get("offset", "0"))
        magic = bytes.fromhex(said.get("magic", ""))
        mask = bytes.fromhex(said["mask"]) if "mask" in said else b"\xff" * len(magic)
    except ValueError:
        return False
    part = head[offset : offset + len(magic)]
    if not magic or len(part) != len(magic) or len(mask) != len(magic):
        return False
    return all((a ^ b) & m == 0 for a, b, m in zip(part, magic, mask, strict=True))
