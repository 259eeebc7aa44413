"""What machines boot from: the cpio writer, the order of modules, the kernel in its image."""

from __future__ import annotations

import gzip
import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from wirt.errors import Invalid, Unsupported
from wirt.qemu import bzimage, cpio
from wirt.qemu.bus import Board
from wirt.qemu.kernel import command_line
from wirt.qemu.module import Module, load_order, normal, read_module


def test_an_archive_is_what_other_programs_read(tmp_path: Path) -> None:
    entries = [
        cpio.directory("dev"),
        cpio.character("dev/console", 5, 1),
        cpio.file("init", b"#!x\n", mode=0o755),
        cpio.file("empty", b""),
        cpio.file("odd", b"12345"),
    ]
    data = cpio.archive(entries)
    assert len(data) % 512 == 0
    assert data == cpio.archive(entries)
    tool = shutil.which("busybox")
    if tool is None:
        pytest.skip("needs busybox: another reader of cpio")
    listed = subprocess.run(
        [tool, "cpio", "-tv"], input=data, capture_output=True, check=True, cwd=tmp_path
    ).stdout.decode()
    lines = {line.split()[-1]: line for line in listed.splitlines()}
    assert lines["init"].startswith("-rwxr-xr-x")
    assert lines["dev/console"].startswith("crw-------")
    subprocess.run([tool, "cpio", "-i", "init", "odd"], input=data, check=True, cwd=tmp_path,
                   capture_output=True)  # fmt: skip
    assert (tmp_path / "init").read_bytes() == b"#!x\n"
    assert (tmp_path / "odd").read_bytes() == b"12345"


def test_a_device_has_its_numbers() -> None:
    # c_rdevmajor and c_rdevminor are the tenth and eleventh of the fields of eight digits.
    header = cpio.archive([cpio.character("console", 5, 1)])[6:110]
    fields = [int(header[at : at + 8], 16) for at in range(0, 104, 8)]
    assert (fields[1], fields[9], fields[10]) == (0o020600, 5, 1)


@pytest.mark.parametrize("path", ["", "/abs", "a//b", "../up", "a/../b", "a\0b"])
def test_bad_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        cpio.archive([cpio.file(path, b"")])


def test_a_path_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="repeated"):
        cpio.archive([cpio.file("a", b""), cpio.directory("a")])


def _module(name: str, depends: str) -> bytes:
    """An ELF file with one section of facts, as modpost writes it."""
    info = f"license=GPL\0depends={depends}\0name={name}\0".encode()
    names = b"\0.modinfo\0.shstrtab\0"
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 0x28, 64 + len(info) + len(names))
    struct.pack_into("<HHH", header, 0x3A, 64, 3, 2)

    def section(name: int, offset: int, length: int) -> bytes:
        return struct.pack("<IIQQQQ", name, 1, 0, 0, offset, length).ljust(64, b"\0")

    return (
        bytes(header) + info + names + bytes(64)
        + section(1, 64, len(info)) + section(10, 64 + len(info), len(names))
    )  # fmt: skip


def test_a_module_says_its_name_and_needs() -> None:
    assert read_module(_module("virtio-rng", "virtio,rng-core")) == Module(
        name="virtio_rng", depends=("rng_core", "virtio")
    )
    assert read_module(_module("alone", "")).depends == ()


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(200), b"x" * 500])
def test_what_is_no_module_is_refused(content: bytes) -> None:
    with pytest.raises(Invalid):
        read_module(content)


def _graph(**needs: str) -> dict[str, Module]:
    return {n: Module(name=n, depends=tuple(d.split())) for n, d in needs.items()}


def test_modules_come_after_what_they_need_and_once() -> None:
    graph = _graph(ring="", virtio="ring", net="virtio failover", failover="", blk="virtio")
    order = load_order(["net", "blk"], graph)
    assert sorted(order) == sorted(graph)
    for name in order:
        for need in graph[name].depends:
            assert order.index(need) < order.index(name)


def test_built_in_needs_are_left_out_and_absent_wishes_told() -> None:
    assert load_order(["a-b"], _graph(a_b="crc32 built_in")) == ("a_b",)
    with pytest.raises(Invalid, match="no module z"):
        load_order(["z"], _graph(a=""))
    assert normal("virtio-rng") == "virtio_rng"


def test_a_circle_of_needs_is_told() -> None:
    with pytest.raises(Invalid, match="a -> b -> a"):
        load_order(["a"], _graph(a="b", b="a"))


def _image(body: bytes, size: int, *, protocol: int = 0x20F) -> bytes:
    image = bytearray(1024)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, protocol)
    struct.pack_into("<II", image, 0x248, 0, len(body) + 4)
    return bytes(image) + body + struct.pack("<I", size) + b"rest of the image"


ELF = b"\x7fELF" + bytes(1000)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_the_kernel_comes_out_of_its_image(pack: object) -> None:
    assert callable(pack)
    assert bzimage.unpack(_image(pack(ELF), len(ELF)), {}) == ELF


def test_other_unpackers_are_found_by_magic() -> None:
    image = _image(bzimage.ZSTD + b"x", len(ELF))
    assert bzimage.unpack(image, {bzimage.ZSTD: lambda data: ELF}) == ELF
    with pytest.raises(Unsupported, match="28b52ffd"):
        bzimage.unpack(image, {})


@pytest.mark.parametrize(
    "image",
    [
        b"",
        bytes(4096),
        _image(gzip.compress(ELF), len(ELF))[:900],
        _image(gzip.compress(ELF), len(ELF))[:1030],
        _image(gzip.compress(ELF), len(ELF) + 1),
        _image(gzip.compress(b"not a kernel"), 12),
        _image(gzip.compress(ELF), len(ELF), protocol=0x207),
    ],
)
def test_damaged_images_are_refused(image: bytes) -> None:
    with pytest.raises(Invalid):
        bzimage.unpack(image, {})


def test_the_counter_is_told_to_those_who_need_it() -> None:
    assert "tsc_early_khz=2600000 tsc=reliable" in command_line(Board.MICROVM, tsc_khz=2_600_000)
    assert "tsc" not in command_line(Board.Q35, tsc_khz=None).replace("tty", "")
    assert "pci=off" not in command_line(Board.Q35, tsc_khz=None)
    assert all(" " not in word for word in command_line(Board.Q35, tsc_khz=1).split(" "))
