"""From the members that a COPY shall make to one deterministic layer.

Members are sorted, times are clamped, and the gzip header names nothing: the same input gives the
same digest wherever and whenever it is built.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wirt.image.build.copying import Placed
from wirt.image.build.tree import Entry
from wirt.model.image import Digest
from wirt.tar import writer
from wirt.tar.member import Member, Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What the layer says about times. ``epoch``: Unix seconds, that of every member."""

    epoch: int


def layer_tar(members: Sequence[Placed], times: Times) -> Iterator[bytes]:
    """The uncompressed layer."""
    first: dict[tuple[int, str], str] = {}
    for placed in members:
        entry = placed.entry
        key = (id(placed.tree), entry.link or entry.path)
        if entry.type is Type.FILE and entry.link and (known := first.get(key)) is not None:
            yield writer.encode(_member(placed, times, Type.HARD_LINK, known))
            continue
        if entry.type is not Type.FILE:
            yield writer.encode(_member(placed, times, entry.type, entry.link))
            continue
        first.setdefault(key, placed.path)
        yield writer.encode(_member(placed, times, Type.FILE, "", size=entry.size))
        yield from placed.tree.content(entry)
        yield writer.padding(entry.size)
    yield writer.END


def _member(placed: Placed, times: Times, kind: Type, link: str, *, size: int = 0) -> Member:
    entry = placed.entry
    return Member(
        name=os.fsencode(placed.path),
        type=kind,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=size,
        real_size=size,
        mtime=times.epoch * 10**9,
        link=os.fsencode(link),
        major=entry.major,
        minor=entry.minor,
        xattrs=dict(entry.xattrs) if kind is not Type.HARD_LINK else {},
    )


def fingerprint(path: str, entry: Entry) -> str:
    """What of a file decides whether a copy of it is the same: everything but the time."""
    text = "\0".join(
        (
            path, entry.type.name, f"{entry.mode:o}", str(entry.uid), str(entry.gid), entry.digest,
            entry.link if entry.type is Type.SYMLINK else "", f"{entry.major},{entry.minor}",
            repr(entry.xattrs),
        )
    )  # fmt: skip
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:32]


def no_layer() -> Digest:
    """The diff id of a layer without members."""
    return Digest("sha256", hashlib.sha256(writer.END).hexdigest())
