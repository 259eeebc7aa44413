"""An initramfs as bytes: the "new ASCII" cpio format that the kernel unpacks.

Format: ``Documentation/driver-api/early-userspace/buffer-format.rst``. The result depends on its
input alone: inode numbers count up, times are 0, owners are root.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file. ``path`` is relative; ``mode`` holds type and permissions; ``device``: numbers."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str, *, mode: int = 0o755) -> Entry:
    """A directory; its parents must come before it."""
    return Entry(path=path, mode=stat.S_IFDIR | mode)


def file(path: str, content: bytes, *, mode: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(path=path, mode=stat.S_IFREG | mode, content=content)


def character(path: str, major: int, minor: int, *, mode: int = 0o600) -> Entry:
    """A character device."""
    return Entry(path=path, mode=stat.S_IFCHR | mode, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive, ended by its trailer and padded to 512 bytes.

    Raises ValueError for an absolute or empty path, one with ``..``, or one named twice.
    """
    out = bytearray()
    seen: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        parts = entry.path.split("/")
        if entry.path in seen or not all(parts) or ".." in parts or "\0" in entry.path:
            raise ValueError(f"bad or repeated path {entry.path!r} in an initramfs")
        seen.add(entry.path)
        _append(out, entry, number)
    _append(out, Entry(path="TRAILER!!!", mode=0), 0)
    _pad(out, 512)
    return bytes(out)


def _append(out: bytearray, entry: Entry, number: int) -> None:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        number, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, *entry.device, len(name), 0
    )  # fmt: skip
    out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
    _pad(out, 4)
    out += entry.content
    _pad(out, 4)


def _pad(out: bytearray, unit: int) -> None:
    out += bytes(-len(out) % unit)
