"""Copying an archive member by member: decompressed, checked, and perhaps with another owner."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from wirt.tar import writer
from wirt.tar.inflate import Inflater
from wirt.tar.member import Member
from wirt.tar.reader import Bounds, Readable, Reader

_CHUNK = 256 * 1024


class Writable(Protocol):
    """Takes bytes."""

    def write(self, data: bytes, /) -> object: ...


def retar(source: Readable, sink: Writable, *, owner: tuple[int, int] | None, limit: int) -> None:
    """Write the archive ``source`` (maybe compressed) as a plain one. ``owner``: uid and gid for
    every member, or None for its own. Sparse files are written whole. Raises Invalid."""
    stream = Inflater(source, limit=limit)
    reader = Reader(stream, bounds=Bounds())
    for member in reader:
        whole = replace(member, size=member.real_size, segments=None)
        if owner is not None:
            whole = replace(whole, uid=owner[0], gid=owner[1])
        sink.write(writer.encode(whole, nanoseconds=True))
        if member.segments is None:
            for chunk in reader.chunks():
                sink.write(chunk)
        else:
            _expand(member, reader, sink)
        sink.write(writer.padding(whole.size))
    sink.write(writer.END)
    stream.drain()


def _expand(member: Member, reader: Reader, sink: Writable) -> None:
    position = 0
    for offset, length in (*(member.segments or ()), (member.real_size, 0)):
        while position < offset:
            hole = min(offset - position, _CHUNK)
            sink.write(bytes(hole))
            position += hole
        while length and (chunk := reader.read(min(length, _CHUNK))):
            sink.write(chunk)
            position += len(chunk)
            length -= len(chunk)
