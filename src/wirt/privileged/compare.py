"""Whether two trees are the same: names, kinds, modes, owners, times, attributes and content.

Follows no link; both trees are the helper's own, so nothing changes meanwhile.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

CHUNK = 1024 * 1024
_MEANT = frozenset({"trusted.overlay.opaque", "trusted.overlay.redirect"})
"""What a layer says to the overlay file system; the rest is what that notes for itself."""


def difference(one: Path, other: Path, name: str = "/") -> str:
    """The first difference between ``one`` and ``other``, for people; "" when there is none."""
    mine, yours = one.lstat(), other.lstat()
    for what in ("st_mode", "st_uid", "st_gid", "st_rdev"):
        if getattr(mine, what) != getattr(yours, what):
            return f"{_shown(name)} has another {what.removeprefix('st_')}"
    if _attributes(one) != _attributes(other):
        return f"{_shown(name)} has other extended attributes"
    if stat.S_ISDIR(mine.st_mode) and (found := _directories(one, other, name)):
        return found
    if stat.S_ISLNK(mine.st_mode) and one.readlink() != other.readlink():
        return f"{_shown(name)} leads elsewhere"
    if stat.S_ISREG(mine.st_mode) and (mine.st_size != yours.st_size or not _same(one, other)):
        return f"{_shown(name)} has other content"
    return f"{_shown(name)} has another time" if mine.st_mtime_ns != yours.st_mtime_ns else ""


def _directories(one: Path, other: Path, name: str) -> str:
    mine = {path.name for path in one.iterdir()}
    yours = {path.name for path in other.iterdir()}
    above = name.rstrip("/")
    for entry in sorted(mine ^ yours):
        told = "is missing" if entry in yours else "does not belong there"
        return f"{_shown(f'{above}/{entry}')} {told}"
    for entry in sorted(mine):
        if found := difference(one / entry, other / entry, f"{above}/{entry}"):
            return found
    return ""


def _attributes(path: Path) -> dict[str, bytes]:
    names = os.listxattr(path, follow_symlinks=False)
    own = {name for name in names if name.startswith("trusted.overlay.") and name not in _MEANT}
    return {n: os.getxattr(path, n, follow_symlinks=False) for n in names if n not in own}


def _same(one: Path, other: Path) -> bool:
    with one.open("rb", buffering=0) as mine, other.open("rb", buffering=0) as yours:
        while True:
            data = mine.read(CHUNK)
            if data != yours.read(CHUNK):
                return False
            if not data:
                return True


def _shown(name: str) -> str:
    return ascii(name)[:200]
