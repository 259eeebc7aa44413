"""Hostile streams: bombs, damage, endless lists, numbers out of range (cases 10-14)."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from filebench import (
    Bench,
    OciLayout,
    config_json,
    describe,
    digest,
    docker_archive,
    file,
    run,
    tar,
)  # fmt: skip
from hostile import accepted, refused
from needs import needs
from wirt.host.layers import Limits
from wirt.model.image import Image

pytestmark = needs("root", "overlay")


def zeros_tar(size: int) -> Iterator[bytes]:
    """A tar with one file of zeros, in pieces."""
    info = tarfile.TarInfo("zeros")
    info.size = size
    yield info.tobuf()
    block = bytes(1024 * 1024)
    for _ in range(size // len(block)):
        yield block
    yield bytes(1024)


def bomb(size: int, compression: str) -> bytes:
    """A compressed tar of one file of zeros."""
    if compression == "gzip":
        squeeze = zlib.compressobj(9, wbits=31)
    else:
        squeeze = zstandard.ZstdCompressor(level=3).compressobj()  # type: ignore[assignment]
    return b"".join([*map(squeeze.compress, zeros_tar(size)), squeeze.flush()])


def with_layer(blob: bytes, suffix: str, **config: Any) -> bytes:
    """An archive whose only layer is this blob; the configuration claims any diff id."""
    layout = OciLayout(layers=[b""], config=config_json([b"not this"], **config))
    media_type = f"application/vnd.oci.image.layer.v1.tar{suffix}"
    layout.manifest["layers"] = [describe(blob, media_type)]
    layout.blobs[digest(blob)] = blob
    return layout.tar()


def peak_of(work: Callable[[], object]) -> tuple[int, int]:
    """Do ``work`` in a child: what we have resident, and the most that it or its children had.

    Both in KiB. A forked child begins with what its parent has.
    """
    own = int(Path("/proc/self/statm").read_text().split()[1]) * 4
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a forked child may not go on as pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    return own, usage.ru_maxrss


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_10_bombs_are_cut_off(tmp_path: Path, canary: Path, compression: str) -> None:
    archive = with_layer(bomb(512 * 1024 * 1024, compression), f"+{compression}")
    own, peak = peak_of(lambda: refused(tmp_path, archive, code="archive.too-large"))
    assert peak - own < 200 * 1024
    limits = Limits(archive=1024 * 1024)
    outer = gzip.compress(docker_archive(tar(file("zeros", bytes(4 * 1024 * 1024)))))
    refused(tmp_path, outer, code="archive.too-large", limits=limits)


def test_10_the_padding_after_the_end_is_bounded_too(tmp_path: Path, canary: Path) -> None:
    blob = gzip.compress(tar(file("x")) + bytes(300 * 1024 * 1024), 1)
    refused(tmp_path, with_layer(blob, "+gzip"), code="archive.too-large")


def test_10_a_zstd_window_beyond_the_limit_is_refused(tmp_path: Path, canary: Path) -> None:
    header = bytes.fromhex("28b52ffd") + b"\x00" + bytes([(22 << 3)])  # a window of 4 GiB
    raw_block = (len(b"x" * 64) << 3 | 1).to_bytes(3, "little") + b"x" * 64
    blob = header + raw_block
    refused(tmp_path, with_layer(blob, "+zstd"), code="archive.malformed", match="zstd")


def test_11_too_many_entries(tmp_path: Path, canary: Path) -> None:
    entries = tar(*(file(f"{n}") for n in range(2_100)))
    refused(tmp_path, docker_archive(entries), code="archive.too-many-entries")


def test_11_long_names_and_headers(tmp_path: Path, canary: Path) -> None:
    long = tar(file("x/" * 50_000 + "y"))
    refused(tmp_path, docker_archive(long), code="archive.malformed", match="too long")
    deep = tar(file("x/" * 300 + "y"))
    refused(tmp_path, docker_archive(deep), code="archive.malformed", match="levels deep")
    component = tar(file("x" * 300))
    refused(tmp_path, docker_archive(component), code="archive.malformed", match="300 bytes")
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1024**3
    claim = info.tobuf() + bytes(10 * 512)
    refused(tmp_path, docker_archive(claim), code="archive.malformed", match="1073741824 bytes")


@pytest.mark.parametrize(
    "pax",
    [
        {"GNU.sparse.map": ",".join(["0,0"] * 70_000), "GNU.sparse.size": "1"},
        {"GNU.sparse.map": "5,1,0,1", "GNU.sparse.size": "9"},
        {"GNU.sparse.map": "0,-5", "GNU.sparse.size": "9"},
        {"GNU.sparse.map": "0,1", "GNU.sparse.size": "9223372036854775807"},
    ],
)
def test_11_sparse_maps(tmp_path: Path, canary: Path, pax: dict[str, str]) -> None:
    layer = tar(file("sparse", b"x", pax=pax))
    refused(tmp_path, docker_archive(layer), code="archive.malformed")


def test_11_a_sparse_file_counts_with_its_holes(tmp_path: Path, canary: Path) -> None:
    pax = {"GNU.sparse.map": "100000000,1", "GNU.sparse.size": "100000001"}
    layer = tar(file("sparse", b"x", pax=pax))
    refused(tmp_path, docker_archive(layer), code="archive.too-large")
    pax = {"GNU.sparse.map": "1000000,1", "GNU.sparse.size": "2000000"}

    def look(b: Bench, image: Image) -> None:
        status = (b.diff(image) / "sparse").stat()
        assert (status.st_size, status.st_blocks < 100) == (2_000_000, True)
        assert (b.diff(image) / "sparse").read_bytes()[999_999:1_000_002] == b"\0x\0"

    accepted(tmp_path, tar(file("sparse", b"x", pax=pax)), look=look)


PLAIN = tar(file("a", os.urandom(100_000)))


@pytest.mark.parametrize(
    ("blob", "match"),
    [
        (gzip.compress(PLAIN)[:-20], "cut short"),
        (gzip.compress(PLAIN)[:-8] + bytes(8), "gzip stream is broken"),
        (gzip.compress(PLAIN) + b"garbage", "foreign bytes"),
        (zstandard.ZstdCompressor().compress(PLAIN)[:-10], "cut short"),
        (lzma.compress(PLAIN)[:-10], "cut short"),
        (PLAIN[:50_000], "ends within a file"),
        (b"\x1f\x8b\x08" + b"\xff" * 100, "gzip stream is"),
        (b"0" * 2048, "no tar archive"),
        (b"short", "ends within a header"),
    ],
)
def test_12_damaged_streams(tmp_path: Path, canary: Path, blob: bytes, match: str) -> None:
    refused(tmp_path, with_layer(blob, ""), code="archive.malformed", match=match)


def test_12_several_gzip_members_are_one_stream(tmp_path: Path, canary: Path) -> None:
    layout = OciLayout(layers=[PLAIN])
    blob = gzip.compress(PLAIN[:40_000]) + gzip.compress(PLAIN[40_000:])
    layout.manifest["layers"] = [describe(blob, "application/vnd.oci.image.layer.v1.tar+gzip")]
    layout.blobs[digest(blob)] = blob

    async def story(b: Bench) -> None:
        (image,) = await b.load(layout.tar())
        assert (b.diff(image) / "a").stat().st_size == 100_000

    run(tmp_path, story)


def _with_owner(field: bytes) -> bytes:
    """A tar whose uid field holds these eight bytes."""
    block = bytearray(tar(file("x"))[:512])
    block[108:116] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


@pytest.mark.parametrize(
    "layer",
    [
        tar(file("x", pax={"uid": str(2**32 - 1)})),
        tar(file("x", pax={"gid": str(2**32)})),
        tar(file("x", pax={"uid": "-1"})),
        _with_owner(b"\xff" * 8),
        _with_owner(b"\x80\0\0\1\0\0\0\0"),
        _with_owner(b"-000001\0"),
    ],
)
def test_13_owners_out_of_range(tmp_path: Path, canary: Path, layer: bytes) -> None:
    refused(tmp_path, docker_archive(layer), code="archive.malformed")


def test_13_large_owners_are_kept(tmp_path: Path, canary: Path) -> None:
    def look(b: Bench, image: Image) -> None:
        assert (b.diff(image) / "x").stat().st_uid == 2**32 - 2

    accepted(tmp_path, tar(file("x", pax={"uid": str(2**32 - 2)})), look=look)


def test_14_names_are_kept_to_the_byte(tmp_path: Path, canary: Path) -> None:
    def look(b: Bench, image: Image) -> None:
        names = {os.fsencode(path.name) for path in b.diff(image).iterdir()}
        assert names == {b"A", b"a", b"\xff\xfe", b"new\nline", b" ", b"-rf", b"\xc3\xa4"}

    entries = [file(n) for n in ("A", "a", "\udcff\udcfe", "new\nline", " ", "-rf", "\u00e4")]
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape"
    ) as archive:
        for entry in entries:
            archive.addfile(tarfile.TarInfo(entry.name))
    accepted(tmp_path, out.getvalue(), look=look)
