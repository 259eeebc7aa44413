"""What a machine says it has changed, made into an image layer.

The machine's agent compares what it has with its image and sends what differs, as the helper does
for a container: in the same order, removed files as devices 0:0. So the same changes make the same
layer, whichever kernel they were made on. The sender is a guest, so nothing of it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wirt.errors import Invalid
from wirt.tar import writer
from wirt.tar.member import Member, Type, show
from wirt.tar.reader import Bounds, Readable, Reader
from wirt.tar.retar import Writable

_PREFIX = b".wh."
_NEVER = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a layer may have: bytes of contents, and members."""

    size: int
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """``size``: bytes of contents. ``entries``: members."""

    size: int
    entries: int


def as_layer(source: Readable, sink: Writable, *, epoch: int | None, bound: Bound) -> Made:
    """Write the layer. ``epoch``: Unix seconds that no time exceeds. Raises Invalid."""
    reader = Reader(source, bounds=Bounds(members=bound.entries))
    latest = _NEVER if epoch is None else epoch * 10**9
    size = entries = 0
    for member in reader:
        name = _clean(member.name) or b"."
        size += member.real_size
        if size > bound.size:
            raise Invalid(f"more than {bound.size} bytes were changed", code="archive.too-large")
        entries += 1
        sink.write(writer.encode(_member(member, name, latest), nanoseconds=True))
        if member.type is Type.FILE:
            for chunk in reader.chunks():
                sink.write(chunk)
            sink.write(writer.padding(member.real_size))
    sink.write(writer.END)
    return Made(size=size, entries=entries)


def _member(member: Member, name: bytes, latest: int) -> Member:
    head, _, leaf = name.rpartition(b"/")
    if leaf.startswith(_PREFIX):
        raise Invalid(
            f"'{show(name)}' cannot be part of an image: names that begin with '.wh.' mean "
            "removed files there",
            hint="remove or rename it",
            code="layer.whiteout",
        )
    if member.type is Type.CHAR and member.major == member.minor == 0:
        hidden = head + b"/" + _PREFIX + leaf if head else _PREFIX + leaf
        return Member(name=hidden, type=Type.FILE, mode=0o600)
    if member.segments is not None:
        raise Invalid(f"'{show(name)}' is sparse, which no agent sends", code="archive.malformed")
    link = _clean(member.link) if member.type is Type.HARD_LINK else member.link
    attributes = {k: v for k, v in member.xattrs.items() if not k.startswith(b"trusted.")}
    return replace(member, name=name, link=link, mtime=min(member.mtime, latest), xattrs=attributes)


def _clean(name: bytes) -> bytes:
    parts = [part for part in name.split(b"/") if part not in {b"", b"."}]
    if b".." in parts:
        raise Invalid(f"the machine names '{show(name)}'", code="archive.escapes")
    return b"/".join(parts)
