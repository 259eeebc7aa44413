"""Removing a tree that a guest has made: any depth, any names, links never followed."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os

_DEEP = 32
_BATCH = 4096


def remove_tree(path: bytes, *, dir_fd: int | None = None) -> bool:
    """Delete ``path`` with everything below it; whether it was there.

    Uses a bounded number of descriptors and no recursion limit: directories nested deeper than
    :data:`_DEEP` are moved up to the top first. Nobody else may change the tree meanwhile.
    """
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        os.unlink(path, dir_fd=dir_fd)
        return True
    except OSError as error:
        if error.errno != errno.ELOOP:  # a symlink
            raise
        os.unlink(path, dir_fd=dir_fd)
        return True
    try:
        while _empty(top, top, 0):
            pass
    finally:
        os.close(top)
    os.rmdir(path, dir_fd=dir_fd)
    return True


def _empty(fd: int, top: int, depth: int) -> bool:
    """Delete what is in a directory; whether something was moved to the top instead."""
    moved = False
    while True:
        with os.scandir(fd) as entries:
            batch = [
                (os.fsencode(entry.name), entry.is_dir(follow_symlinks=False))
                for entry in itertools.islice(entries, _BATCH)
            ]
        if not batch:
            return moved
        for name, is_dir in batch:
            if is_dir:
                moved |= _remove_directory(name, fd, top, depth)
            else:
                os.unlink(name, dir_fd=fd)


def _remove_directory(name: bytes, fd: int, top: int, depth: int) -> bool:
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=fd)
        return False
    if depth >= _DEEP:
        os.rename(name, os.urandom(16).hex().encode(), src_dir_fd=fd, dst_dir_fd=top)
        return True
    child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
    try:
        moved = _empty(child, top, depth + 1)
    finally:
        os.close(child)
    os.rmdir(name, dir_fd=fd)
    return moved
