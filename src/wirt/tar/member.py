"""One entry of a tar archive as a plain value; names stay bytes, exactly as they were."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from enum import Enum

BLOCK = 512
"""Bytes of a tar block."""


class Type(Enum):
    """What an entry is; the values are POSIX typeflags."""

    FILE = b"0"
    HARD_LINK = b"1"
    SYMLINK = b"2"
    CHAR = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


FORMAT_BITS: dict[Type, int] = {
    Type.FILE: stat.S_IFREG,
    Type.HARD_LINK: stat.S_IFREG,
    Type.SYMLINK: stat.S_IFLNK,
    Type.CHAR: stat.S_IFCHR,
    Type.BLOCK: stat.S_IFBLK,
    Type.DIRECTORY: stat.S_IFDIR,
    Type.FIFO: stat.S_IFIFO,
}
"""The ``st_mode`` format bits of each type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An entry. ``size``: bytes of content in the archive; ``real_size``: of the file (sparse).

    ``mode``: permission bits only (07777). ``mtime``: Unix nanoseconds, 0 or later.
    ``segments``: (offset, length) of the stored parts of a sparse file, else None.
    """

    name: bytes
    type: Type
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    real_size: int = 0
    mtime: int = 0
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    segments: tuple[tuple[int, int], ...] | None = None


def show(name: bytes) -> str:
    """A name for messages: readable, on one line, at most 200 characters."""
    text = name[:200].decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
