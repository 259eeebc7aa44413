"""What a machine says it has changed, as a layer: a guest's word, and read as such."""

from __future__ import annotations

import io
import tarfile

import pytest

from wirt.errors import Invalid
from wirt.image.build.upper import Bound, Made, as_layer
from wirt.tar import writer
from wirt.tar.member import Member, Type

XATTRS = {b"trusted.overlay.opaque": b"y", b"user.kept": b"1"}
EPOCH = 1000


def archive(*members: Member, data: bytes = b"") -> bytes:
    out = b""
    for member in members:
        out += writer.encode(member)
        if member.type is Type.FILE:
            out += data[: member.size] + writer.padding(member.size)
    return out + writer.END


def layer(
    *members: Member, data: bytes = b"", epoch: int | None = EPOCH, bound: Bound | None = None
) -> tuple[Made, list[tarfile.TarInfo]]:
    sink = io.BytesIO()
    made = as_layer(
        io.BytesIO(archive(*members, data=data)),
        sink,
        epoch=epoch,
        bound=bound or Bound(size=1000, entries=100),
    )
    sink.seek(0)
    with tarfile.open(fileobj=sink) as read:
        return made, read.getmembers()


def test_whiteouts_attributes_and_times() -> None:
    made, found = layer(
        Member(name=b"./", type=Type.DIRECTORY, mode=0o700),
        Member(name=b"./etc", type=Type.DIRECTORY, mtime=5 * 10**9),
        Member(name=b"./etc/gone", type=Type.CHAR),
        Member(name=b"./new", type=Type.DIRECTORY, xattrs=XATTRS, mtime=9999 * 10**9),
        Member(name=b"./new/f", type=Type.FILE, size=3),
        Member(name=b"./new/twin", type=Type.HARD_LINK, link=b"./new/f"),
        Member(name=b"./null", type=Type.CHAR, major=1, minor=3),
        data=b"abc",
    )
    assert [(m.name, m.mtime) for m in found] == [
        (".", 0), ("etc", 5), ("etc/.wh.gone", 0), ("new", EPOCH), ("new/f", 0), ("new/twin", 0),
        ("null", 0),
    ]  # fmt: skip
    assert found[5].linkname == "new/f"
    assert found[3].pax_headers == {"SCHILY.xattr.user.kept": "1"}
    assert made == Made(size=3, entries=7)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (Member(name=b"./../../etc/x", type=Type.DIRECTORY), "etc/x"),
        (Member(name=b"./a", type=Type.HARD_LINK, link=b"../../etc/shadow"), "shadow"),
        (Member(name=b"./.wh.passwd", type=Type.FILE), r"\.wh\.passwd"),
        (Member(name=b"./.wh..wh..opq", type=Type.FILE), r"\.wh"),
        (Member(name=b"./large", type=Type.FILE, size=1001), "1000 bytes"),
    ],
)
def test_lies_are_refused(member: Member, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        layer(member, data=bytes(2000))


def test_too_many_members_are_refused() -> None:
    many = [Member(name=b"./%d" % n, type=Type.DIRECTORY) for n in range(5)]
    with pytest.raises(Invalid):
        layer(*many, bound=Bound(size=10, entries=4))
