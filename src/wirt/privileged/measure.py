"""Bytes that a tree takes on the disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_MAX_DEPTH = 200


def measure(path: Path, seen: set[tuple[int, int]] | None = None) -> int:
    """Allocated bytes of everything below ``path``, hard links once; -1 when it is not there.

    ``seen``: hard links that were counted elsewhere already. Follows no link. Directories nested
    deeper than :data:`_MAX_DEPTH` count themselves only.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return -1
    return os.fstat(fd).st_blocks * 512 + _below(fd, set() if seen is None else seen, 0)


def _below(fd: int, seen: set[tuple[int, int]], depth: int) -> int:
    """What is in the directory ``fd``, which is closed."""
    total = 0
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    key = (status.st_dev, status.st_ino)
                    if key in seen:
                        continue
                    seen.add(key)
                total += status.st_blocks * 512
                if stat.S_ISDIR(status.st_mode) and depth < _MAX_DEPTH:
                    total += _enter(entry.name, fd, seen, depth)
    finally:
        os.close(fd)
    return total


def _enter(name: str, fd: int, seen: set[tuple[int, int]], depth: int) -> int:
    try:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        below = os.open(name, flags, dir_fd=fd)
    except OSError:
        return 0
    return _below(below, seen, depth + 1)
