"""A path that a user typed, found in the tree that this process is confined to (docker's rules):
the last component is not followed when it is a link, unless a "/" or "/." comes after it."""

from __future__ import annotations

import os
import posixpath
import stat
from dataclasses import dataclass

from wirt.errors import Invalid, NotFound
from wirt.privileged.protocol import TreeStat

_MAX_PATH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a path leads: ``leaf`` in the directory ``parent`` (a descriptor to close).

    ``name``: what to call it in an archive. ``status``: of the object itself.
    """

    parent: int
    leaf: bytes
    name: bytes
    status: os.stat_result


def locate(path: str) -> Place:
    """Raises NotFound (``guest.no-such-path``), Invalid."""
    if "\0" in path or len(path) > _MAX_PATH:
        raise Invalid("the path is too long or holds a NUL byte", code="guest.path")
    follow = path.endswith(("/", "/.")) or path in {"", "."}
    whole = posixpath.normpath("/" + path.lstrip("/"))
    directory, leaf = posixpath.split(whole)
    name = "." if path.endswith("/.") or not leaf else leaf
    parent = -1
    try:
        parent = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        raw = os.fsencode(leaf) or b"."
        status = os.stat(raw, dir_fd=parent, follow_symlinks=False)
        if follow and stat.S_ISLNK(status.st_mode):
            below = os.open(raw, os.O_PATH, dir_fd=parent)
            os.close(parent)
            parent, raw = below, b"."
            status = os.fstat(parent)
        if follow and not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError
    except OSError as error:
        if parent >= 0:
            os.close(parent)
        raise _missing(path, error) from error
    return Place(parent=parent, leaf=raw, name=os.fsencode(name), status=status)


def describe(path: str) -> TreeStat:
    """lstat of a path. ``link_target``: where a link leads to in the end, absolute."""
    place = locate(path)
    os.close(place.parent)
    target = ""
    if stat.S_ISLNK(place.status.st_mode):
        target = os.path.realpath(posixpath.normpath("/" + path.lstrip("/")))
    return TreeStat(
        name=_text(place.name)
        if place.name != b"."
        else posixpath.basename(path.rstrip("/.")) or "/",
        size=place.status.st_size,
        mode=place.status.st_mode,
        mtime=place.status.st_mtime_ns,
        link_target=_text(os.fsencode(target)),
    )


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _missing(path: str, error: OSError) -> Exception:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"no such file or directory in the guest: {path}", code="guest.no-path")
    if isinstance(error, NotADirectoryError):
        return Invalid(f"not a directory in the guest: {path}", code="guest.not-a-directory")
    return Invalid(f"{path}: {(error.strerror or '').lower()}", code="guest.path")
