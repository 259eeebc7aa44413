"""File trees as plain values, to compare what two programs made of one image."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wirt.privileged.overlay import mount_overlay, private_mounts


def snapshot(root: Path) -> dict[str, Any]:
    """Everything about every file below ``root``: kind, mode, owner, time, content, attributes,
    device numbers, and which names are one file."""
    found: dict[str, Any] = {}
    links: dict[tuple[int, int], str] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        raw = os.fsencode(path.relative_to(root))
        shown = raw.decode("utf-8", "backslashreplace")
        found[shown] = _describe(path, shown, links)
    return found


def _describe(path: Path, shown: str, links: dict[tuple[int, int], str]) -> list[Any]:
    status = path.lstat()
    content = ""
    if stat.S_ISREG(status.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = os.fsencode(path.readlink()).decode("utf-8", "backslashreplace")
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        content = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    first = shown
    if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
        first = links.setdefault((status.st_dev, status.st_ino), shown)
    attributes = {
        name: os.getxattr(path, name, follow_symlinks=False).hex()
        for name in os.listxattr(path, follow_symlinks=False)
        if not name.startswith("trusted.")
    }
    return [
        stat.filemode(status.st_mode),
        status.st_uid,
        status.st_gid,
        int(status.st_mtime),
        content,
        first,
        attributes,
    ]


def merged(layers: Sequence[Path], spot: Path) -> dict[str, Any]:
    """The snapshot of layers on top of each other, base first, as the kernel shows them.
    ``spot``: an empty directory. Mounted in a child's own namespace."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            private_mounts()
            mount_overlay(spot, layers)
            with os.fdopen(writer, "w") as out:
                json.dump(snapshot(spot), out)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    assert os.waitpid(pid, 0)[1] == 0
    return dict(json.loads(text))


def difference(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What differs, a line each, for messages."""
    return [
        f"{name}: {one.get(name)} != {other.get(name)}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]
