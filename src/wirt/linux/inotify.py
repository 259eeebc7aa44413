"""A small reader of inotify(7) for event loops: register ``fileno()``, call ``read()``."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Self

from wirt.linux import libc

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x01000000

_EVENT = struct.Struct("iIII")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One thing that happened. ``watch``: which watch, -1 when events were lost
    (IN_Q_OVERFLOW); ``name``: the entry in a watched directory, else empty."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify instance. ``read()`` never blocks."""

    def __init__(self) -> None:
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """For ``loop.add_reader`` and poll."""
        return self._fd

    def add(self, path: libc.PathLike, mask: int) -> int:
        """Watch a path; the watch's number. Raises OSError."""
        return libc.inotify_add_watch(self._fd, path, mask)

    def remove(self, watch: int) -> None:
        """End a watch; an IN_IGNORED follows."""
        libc.inotify_rm_watch(self._fd, watch)

    def read(self) -> list[Seen]:
        """What has happened since the last call; empty when nothing has."""
        try:
            data = os.read(self._fd, 64 * 1024)
        except BlockingIOError:
            return []
        seen: list[Seen] = []
        offset = 0
        while offset < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            seen.append(Seen(watch=watch, mask=mask, name=name))
            offset += length
        return seen

    def close(self) -> None:
        """End all watches. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
