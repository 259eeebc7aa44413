"""Where a copy into a root file system goes, found in the tree that this process is confined to.

Symlinks are followed here, inside the tree, so that the layer names only real places: applying it
follows nothing.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat

from wirt.errors import Invalid, NotFound
from wirt.privileged import users
from wirt.privileged.protocol import LookAtTarget, Target

_MAX_PATH = 4096
_MAX_LINKS = 40


def look_at(verb: LookAtTarget, *, empty: bool = False) -> Target:
    """The answer to a verb. ``empty``: there is no tree at all. Raises Invalid, NotFound."""
    if "\0" in verb.path or len(verb.path) > _MAX_PATH:
        raise Invalid("the destination is too long or holds a NUL byte", code="build.destination")
    if empty:
        uid, gid = _owner(verb.owner, None)
        path = posixpath.normpath("/" + verb.path.lstrip("/"))
        kind = "directory" if path == "/" else "missing"
        return Target(path=path, kind=kind, above=0, uid=uid, gid=gid)
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        uid, gid = _owner(verb.owner, root)
    finally:
        os.close(root)
    path = _real(verb.path)
    kind = _kind(path)
    base = path.rstrip("/")
    existing: list[int] = []
    blocked: list[int] = []
    covered: list[int] = []
    if kind == "directory":
        for number, below in enumerate(verb.directories):
            match _kind(f"{base}/{below}"):
                case "directory":
                    existing.append(number)
                case "other":
                    blocked.append(number)
        covered = [n for n, b in enumerate(verb.others) if _kind(f"{base}/{b}") == "directory"]
    return Target(
        path=path,
        kind=kind,
        above=_above(path),
        existing=tuple(existing),
        blocked=tuple(blocked),
        covered=tuple(covered),
        uid=uid,
        gid=gid,
    )


def _owner(text: str, root: int | None) -> tuple[int, int]:
    """Ids of ``USER[:GROUP]``; a number alone is the group's too, as docker does it."""
    if not text:
        return 0, 0
    user, colon, _ = text.partition(":")
    if not colon and user.isascii() and user.isdigit():
        text = f"{user}:{user}"
    numbers = text.replace(":", "", 1)
    if root is None:
        if not (numbers.isascii() and numbers.isdigit()):
            raise NotFound(
                f"the owner {text[:80]!r} cannot be looked up in an empty image",
                hint="give numbers, as --chown=1000:1000",
                code="user.unknown",
            )
        first, _, second = text.partition(":")
        return int(first[:20]), int((second or first)[:20])
    found = users.resolve(root, text)
    return found.uid, found.gid


def _real(path: str) -> str:
    """The path with links followed; a last component that is a link to no directory stays."""
    left = [part for part in path.split("/") if part not in {"", "."}]
    left.reverse()
    here = ""
    links = 0
    while left:
        part = left.pop()
        if part == "..":
            here = here.rpartition("/")[0]
            continue
        there = f"{here}/{part}"
        target = _link(there)
        if target is None or (not left and _kind_followed(there) == "other"):
            here = there
            continue
        links += 1
        if links > _MAX_LINKS:
            raise Invalid(
                f"the symlinks of the destination {path[:200]!r} lead in circles",
                code="build.links",
            )
        if target.startswith("/"):
            here = ""
        left += [p for p in reversed(target.split("/")) if p not in {"", "."}]
    return here or "/"


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - a text, not a path of ours
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOENT, errno.ENOTDIR}:
            return None
        raise


def _kind_followed(path: str) -> str:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except OSError:
        return "missing"
    return "directory" if stat.S_ISDIR(mode) else "other"


def _kind(path: str) -> str:
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    return "directory" if stat.S_ISDIR(mode) else "other"


def _above(path: str) -> int:
    """How many leading components are there."""
    parts = [part for part in path.split("/") if part]
    for count in range(1, len(parts) + 1):
        kind = _kind("/" + "/".join(parts[:count]))
        if kind == "missing":
            return count - 1
        if kind == "other" and count < len(parts):
            raise Invalid(
                f"'/{'/'.join(parts[:count])}' is no directory in the image",
                hint="copy to another place, or remove it first",
                code="build.not-a-directory",
            )
    return len(parts)
