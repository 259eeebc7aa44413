"""Directories for half-made things: renamed into place when whole, recognised as garbage if not.

A scratch directory is locked by the process that fills it (flock(2), gone with the process), so
whoever comes next can remove those of processes that were killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from wirt.privileged.remove import remove_tree

PREFIX = ".new-"


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A fresh locked directory below ``parent`` (made if missing), removed afterwards with what
    is still in it."""
    parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    clean(parent)
    while True:
        path = parent / f"{PREFIX}{secrets.token_hex(8)}"
        path.mkdir(mode=0o700)
        lock = _lock(path)
        if lock is not None:
            break
    try:
        yield path
    finally:
        remove_tree(os.fsencode(path))
        os.close(lock)


def clean(parent: Path) -> list[str]:
    """Remove the scratch directories that nobody fills any more; their names."""
    removed = []
    for path in parent.glob(f"{PREFIX}*"):
        lock = _lock(path)
        if lock is not None:
            remove_tree(os.fsencode(path))
            os.close(lock)
            removed.append(path.name)
    return removed


def _lock(path: Path) -> int | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
