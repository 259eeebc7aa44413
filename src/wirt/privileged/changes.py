"""What a writable layer changed, told by comparing three views of it.

``upper`` is the layer itself as a directory, ``lower`` what lies below it, ``merged`` both as the
guest sees them. What lower has and merged has not was removed, whether by a whiteout or by an
opaque directory, so no privileged attribute need be read. The guest may be alive and hostile: it
can rename and swap, so everything is opened by one component, relative to an open directory,
without following links.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Protocol

from wirt.errors import Invalid
from wirt.privileged.pack import kept_attributes
from wirt.privileged.walk import MAX_DEPTH

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An object of the upper view: ``leaf`` in the open directory ``parent``; ``name`` from the
    root. ``before``: what lower has there, or None."""

    name: bytes
    leaf: bytes
    parent: int
    status: os.stat_result
    before: os.stat_result | None


class Changes(Protocol):
    """Takes changes, parents first, each directory's in the order of bytes, removals before the
    rest."""

    def removed(self, name: bytes, before: os.stat_result) -> None:
        """Something of lower is gone."""
        ...

    def directory(self, found: Found, fd: int) -> None:
        """A directory that is new, another than before, or has changes in it. ``fd``: open."""
        ...

    def other(self, found: Found) -> None:
        """Anything else that is new or may be another than before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Open directories of one place; ``lower`` is None where lower has none."""

    upper: int
    lower: int | None
    merged: int

    def close(self) -> None:
        """Close them."""
        for fd in (self.upper, self.merged, *(() if self.lower is None else (self.lower,))):
            os.close(fd)


class Comparison:
    """Walks the views and tells ``changes``. ``whole``: upper is a whole tree, so files that look
    the same as before are no change."""

    def __init__(self, changes: Changes, *, whole: bool = False) -> None:
        self._changes = changes
        self._whole = whole
        self._unchanged: list[tuple[Found, int]] = []

    def run(self, upper: bytes, lower: bytes, merged: bytes) -> None:
        """Compare the trees at three paths. Their roots are compared but for the time, which
        changes with everything put into them."""
        with_root = os.open(b"/", os.O_RDONLY | os.O_DIRECTORY)
        views = Views(
            upper=os.open(upper, _DIRECTORY),
            lower=os.open(lower, _DIRECTORY),
            merged=os.open(merged, _DIRECTORY),
        )
        try:
            assert views.lower is not None
            status, before = os.fstat(views.upper), os.fstat(views.lower)
            if not _alike(status, before, time=False):
                root = Found(name=b".", leaf=upper, parent=with_root, status=status, before=before)
                self._changes.directory(root, views.upper)
            self._inside(views, b"", 0)
        finally:
            views.close()
            os.close(with_root)

    def _inside(self, views: Views, name: bytes, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Invalid(
                f"the directories are nested deeper than {MAX_DEPTH} levels",
                hint="remove the deepest ones first",
                code="archive.too-deep",
            )
        below = _names(views.lower)
        for leaf in sorted(below - _names(views.merged)):
            before = _lstat(leaf, views.lower)
            if before is not None:
                self._tell_parents()
                self._changes.removed(name + leaf, before)
        for leaf in sorted(_names(views.upper)):
            status = _lstat(leaf, views.upper)
            if status is None or is_whiteout(status):
                continue
            found = Found(
                name=name + leaf,
                leaf=leaf,
                parent=views.upper,
                status=status,
                before=_lstat(leaf, views.lower) if leaf in below else None,
            )
            if stat.S_ISDIR(status.st_mode):
                self._directory(found, views, depth)
            elif not self._whole or not _same(found):
                self._tell_parents()
                self._changes.other(found)

    def _directory(self, found: Found, views: Views, depth: int) -> None:
        try:
            upper = os.open(found.leaf, _DIRECTORY, dir_fd=found.parent)
        except OSError as error:  # swapped since it was looked at
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                return
            raise
        was = found.before is not None and stat.S_ISDIR(found.before.st_mode)
        lower = _open(found.leaf, views.lower) if was else None
        merged = _open(found.leaf, views.merged)
        inside = Views(upper=upper, lower=lower, merged=os.dup(upper) if merged is None else merged)
        mark = len(self._unchanged)
        try:
            self._unchanged.append((found, upper))
            if lower is None or not _unchanged(found, upper, lower):
                self._tell_parents()
            self._inside(inside, found.name + b"/", depth + 1)
        finally:
            del self._unchanged[mark:]
            inside.close()

    def _tell_parents(self) -> None:
        """Directories that did not change themselves are told when something in them did."""
        for found, fd in self._unchanged:
            self._changes.directory(found, fd)
        self._unchanged.clear()


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this hides something of a lower layer: a character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _names(fd: int | None) -> set[bytes]:
    return set() if fd is None else {os.fsencode(name) for name in os.listdir(fd)}  # noqa: PTH208 - a descriptor


def _lstat(leaf: bytes, fd: int | None) -> os.stat_result | None:
    if fd is None:
        return None
    try:
        return os.stat(leaf, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _open(leaf: bytes, fd: int | None) -> int | None:
    if fd is None:
        return None
    try:
        return os.open(leaf, _DIRECTORY, dir_fd=fd)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return None
        raise


def _alike(one: os.stat_result, other: os.stat_result, *, time: bool = True) -> bool:
    return (one.st_mode, one.st_uid, one.st_gid) == (
        other.st_mode, other.st_uid, other.st_gid
    ) and (not time or one.st_mtime_ns == other.st_mtime_ns)  # fmt: skip


def _unchanged(found: Found, upper: int, lower: int) -> bool:
    return (
        found.before is not None
        and _alike(found.status, found.before)
        and kept_attributes(upper) == kept_attributes(lower)
    )


def _same(found: Found) -> bool:
    """Whether a file of a whole tree looks as it did, its content not read."""
    now, before = found.status, found.before
    if before is None or not _alike(now, before):
        return False
    return (now.st_size, now.st_rdev) == (before.st_size, before.st_rdev)
