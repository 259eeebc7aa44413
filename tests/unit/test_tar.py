"""Tar streams: the standard library's writer and reader as oracles, then damage of every kind."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirt.errors import Invalid
from wirt.tar import writer
from wirt.tar.member import Member, Type, show
from wirt.tar.reader import Bounds, Reader
from wirt.tar.retar import retar

KINDS = {
    Type.FILE: tarfile.REGTYPE,
    Type.DIRECTORY: tarfile.DIRTYPE,
    Type.SYMLINK: tarfile.SYMTYPE,
    Type.HARD_LINK: tarfile.LNKTYPE,
    Type.CHAR: tarfile.CHRTYPE,
    Type.BLOCK: tarfile.BLKTYPE,
    Type.FIFO: tarfile.FIFOTYPE,
}

component = st.binary(min_size=1, max_size=60).filter(
    lambda b: not set(b) & set(b"\0/") and b not in {b".", b".."}
)
names = st.lists(component, min_size=1, max_size=6).map(b"/".join)


@st.composite
def members(draw: st.DrawFn) -> tuple[Member, bytes]:
    kind = draw(st.sampled_from(list(Type)))
    data = draw(st.binary(max_size=1500)) if kind is Type.FILE else b""
    device = kind in {Type.CHAR, Type.BLOCK}
    return (
        Member(
            name=draw(names),
            type=kind,
            mode=draw(st.integers(0, 0o7777)),
            uid=draw(st.integers(0, 2**32 - 2)),
            gid=draw(st.integers(0, 2**32 - 2)),
            size=len(data),
            real_size=len(data),
            mtime=draw(st.integers(0, 2**33 * 10**9 - 1)),
            link=draw(names) if kind in {Type.SYMLINK, Type.HARD_LINK} else b"",
            major=draw(st.integers(0, 4095)) if device else 0,
            minor=draw(st.integers(0, 2**20 - 1)) if device else 0,
            xattrs=draw(
                st.dictionaries(
                    st.sampled_from([b"user.a", b"user.b=c", b"security.capability"]),
                    st.binary(max_size=50),
                    max_size=2,
                )
            ),
        ),
        data,
    )


def archive(*entries: tuple[Member, bytes]) -> bytes:
    parts = [
        writer.encode(member, nanoseconds=True) + data + writer.padding(len(data))
        for member, data in entries
    ]
    return b"".join(parts) + writer.END


def read(data: bytes, **bounds: int) -> list[tuple[Member, bytes]]:
    reader = Reader(io.BytesIO(data), bounds=Bounds(**bounds))
    return [(member, b"".join(reader.chunks())) for member in reader]


@settings(max_examples=60, deadline=None)
@given(st.lists(members(), max_size=5))
def test_what_is_written_is_read(entries: list[tuple[Member, bytes]]) -> None:
    expected = [
        (
            Member(
                **{
                    **{f: getattr(m, f) for f in Member.__dataclass_fields__},
                    "name": m.name + b"/" if m.type is Type.DIRECTORY else m.name,
                    "xattrs": {k.split(b"=")[0]: v for k, v in m.xattrs.items()},
                }
            ),
            data,
        )
        for m, data in entries
        if not any(b"=" in key for key in m.xattrs)
    ]
    kept = [e for e in entries if not any(b"=" in key for key in e[0].xattrs)]
    assert read(archive(*kept)) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(members(), max_size=4))
def test_the_standard_library_reads_what_is_written(entries: list[tuple[Member, bytes]]) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive(*entries)), errors="surrogateescape") as found:
        infos = found.getmembers()
        assert len(infos) == len(entries)
        for info, (member, data) in zip(infos, entries, strict=True):
            assert os.fsencode(info.name) == member.name.rstrip(b"/")
            assert info.type == KINDS[member.type]
            assert (info.uid, info.gid, info.mode) == (member.uid, member.gid, member.mode)
            assert os.fsencode(info.linkname) == member.link
            assert (info.devmajor, info.devminor) == (member.major, member.minor)
            if member.type is Type.FILE:
                content = found.extractfile(info)
                assert content is not None
                assert content.read() == data


@settings(max_examples=60, deadline=None)
@given(
    st.lists(members(), max_size=4),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_what_the_standard_library_writes_is_read(
    entries: list[tuple[Member, bytes]], form: int
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as made:
        for member, data in entries:
            info = tarfile.TarInfo(os.fsdecode(member.name))
            info.type, info.mode, info.size = KINDS[member.type], member.mode, len(data)
            info.uid, info.gid = member.uid, member.gid
            info.mtime, info.linkname = member.mtime // 10**9, os.fsdecode(member.link)
            info.devmajor, info.devminor = member.major, min(member.minor, 0o7777777)
            made.addfile(info, io.BytesIO(data))
    found = read(out.getvalue())
    assert [(m.name.rstrip(b"/"), m.type, m.uid, m.gid, m.mode, m.mtime // 10**9, d)
            for m, d in found] == [
        (m.name, m.type, m.uid, m.gid, m.mode, m.mtime // 10**9, d) for m, d in entries
    ]  # fmt: skip


SEED = archive(
    (Member(name=b"d", type=Type.DIRECTORY), b""),
    (Member(name=b"x" * 150, type=Type.FILE, size=700, real_size=700), b"y" * 700),
    (Member(name=b"l", type=Type.SYMLINK, link=b"t" * 120), b""),
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_is_invalid_and_nothing_else(data: st.DataObject) -> None:
    damaged = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):  # make the checksum right again, so that the fields are read
        for start in range(0, len(damaged), 512):
            block = damaged[start : start + 512]
            if block[257:262] == b"ustar":
                block[148:156] = b" " * 8
                block[148:156] = b"%06o\0 " % sum(block)
                damaged[start : start + 512] = block
    cut = data.draw(st.integers(0, len(damaged)))
    with contextlib.suppress(Invalid):
        found = read(bytes(damaged[:cut]))
        assert len(found) <= 3


@pytest.mark.parametrize("version", ["oldgnu", "0.0", "0.1", "1.0"])
def test_sparse_files_of_gnu_tar(tmp_path: Path, version: str) -> None:
    with (tmp_path / "s").open("wb") as file:
        for place in range(0, 60 * 65_536, 2 * 65_536):
            file.seek(place)
            file.write(b"data")
        file.truncate(10_000_000)
    form = (
        ["--format=gnu"] if version == "oldgnu" else ["--format=pax", f"--sparse-version={version}"]
    )
    subprocess.run(
        ["tar", "-C", tmp_path, "--sparse", *form, "-cf", tmp_path / "a.tar", "s"], check=True
    )
    data = (tmp_path / "a.tar").read_bytes()
    ((member, content),) = read(data)
    assert (member.name, member.real_size) == (b"s", 10_000_000)
    assert member.segments is not None
    assert sum(length for _, length in member.segments) == len(content) < 1_000_000
    whole = io.BytesIO()
    retar(io.BytesIO(data), whole, owner=(7, 8), limit=2**30)
    ((plain, expanded),) = read(whole.getvalue())
    assert expanded == (tmp_path / "s").read_bytes()
    assert (plain.uid, plain.gid, plain.segments) == (7, 8, None)


def test_bounds_are_kept() -> None:
    two = archive(*[(Member(name=b"a", type=Type.FILE), b"")] * 2)
    with pytest.raises(Invalid) as failure:
        read(two, members=1)
    assert failure.value.code == "archive.too-many-entries"
    long = archive((Member(name=b"a" * 300, type=Type.FILE), b""))
    with pytest.raises(Invalid, match="too long"):
        read(long, name=255)
    attribute = Member(name=b"a", type=Type.FILE, xattrs={b"user.x": bytes(5000)})
    with pytest.raises(Invalid, match="too large"):
        read(archive((attribute, b"")), extended=4096)


def _pax(records: bytes, kind: bytes = b"x") -> bytes:
    head = bytearray(writer.encode(Member(name=b"p", type=Type.FILE, size=len(records))))
    head[156:157] = kind
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + records + writer.padding(len(records))


@pytest.mark.parametrize(
    "records",
    [b"garbage", b"5 a=b", b"99 path=x\n", b"-6 a=b\n", b"7 a=b\n\n\n", b"6 abcd\n", b"5 =b\n",
     b"12 path=a\0b\n", b"9 uid=-1\n", b"9 uid=1x\n", b"13 mtime=1.x\n", b"0 a=b\n", b"4 a\n",
     b"30 size=999999999999999999999\n"],
)  # fmt: skip
def test_bad_extended_headers(records: bytes) -> None:
    with pytest.raises(Invalid):
        read(_pax(records) + SEED)


def test_global_headers_hold_for_all_that_follow() -> None:
    data = _pax(b"8 uid=7\n", b"g") + SEED
    assert [m.uid for m, _ in read(data)] == [7, 7, 7]
    many = b"".join(_pax(b"8 uid=7\n", b"g") for _ in range(80))
    with pytest.raises(Invalid):
        read(many + SEED)


@pytest.mark.parametrize(
    ("name", "shown"), [(b"a\nb", "a\\nb"), (b"\xff", "\\xff"), (b"\x1b[1m", "\\x1b[1m")]
)
def test_names_are_shown_on_one_line(name: bytes, shown: str) -> None:
    assert show(name) == shown


def test_an_old_directory_is_one() -> None:
    block = bytearray(writer.encode(Member(name=b"d/", type=Type.FILE)))
    assert read(bytes(block) + writer.END)[0][0].type is Type.DIRECTORY
