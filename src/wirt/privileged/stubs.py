"""Places for mounts that the image does not have, in a layer of their own.

The engine would make them in the guest's writable layer, where they would look like changes of
the guest's and have to be removed again, which has been an attack (CVE-2024-23652). So they are
made here, on a tmpfs below the writable layer: nothing is ever cleaned.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wirt.linux import libc
from wirt.privileged.walk import clean


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where something will be mounted, and whether that is a file."""

    target: str
    is_file: bool


def points(config: dict[str, Any]) -> list[Point]:
    """The mount points of an OCI configuration, but those inside another one of them."""
    found: list[Point] = []
    for mount in config.get("mounts", ()):
        target = mount["destination"]
        if any(target.startswith(f"{other.target.rstrip('/')}/") for other in found):
            continue
        source = mount.get("source", "")
        is_bind = mount.get("type") == "bind" and source.startswith("/")
        found.append(Point(target=target, is_file=is_bind and not _is_directory(source)))
    return found


def _is_directory(source: str) -> bool:
    try:
        return stat.S_ISDIR(Path(source).stat().st_mode)
    except OSError:
        return True  # the engine says what is wrong with it


class Stubs:
    """Makes what is missing at ``place``, an empty directory. ``root``: the guest's root as it is
    without. ``owner``: the guest's own root user."""

    def __init__(self, root: Path, place: Path, *, owner: int) -> None:
        self.root = root
        self.place = place
        self._owner = owner
        self._times: list[tuple[Path, int]] = []
        self._mounted = False

    def make(self, wanted: Sequence[Point]) -> bool:
        """Whether anything was missing; the place is a tmpfs then."""
        top = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for point in wanted:
                self._one(top, point)
        finally:
            os.close(top)
        for path, time in reversed(self._times):
            os.utime(path, ns=(time, time))
        return self._mounted

    def _one(self, top: int, point: Point) -> None:
        parts = clean(os.fsencode(point.target))
        known = len(parts)
        held = _open(top, parts)
        while held is None and known:
            known -= 1
            held = _open(top, parts[:known])
        if held is None:
            return
        try:
            if known == len(parts) or _odd(held, parts[known]):
                return  # there, or something on which the engine must judge
            real = os.fsencode(Path(f"/proc/self/fd/{held}").readlink())
        finally:
            os.close(held)
        base = os.fsencode(self.root)
        if real != base and not real.startswith(base + b"/"):
            return
        self._put(top, clean(real[len(base) :]), parts[known:], is_file=point.is_file)

    def _put(
        self, top: int, there: tuple[bytes, ...], rest: tuple[bytes, ...], *, is_file: bool
    ) -> None:
        if not self._mounted:
            libc.mount("tmpfs", self.place, "tmpfs", data="mode=0755")
            self._mounted = True
        path = self.place
        for depth in range(len(there) + 1):
            if depth:
                path = path / os.fsdecode(there[depth - 1])
                if path.is_dir():
                    continue
                path.mkdir()
            self._dress(top, there[:depth], path)
        for number, part in enumerate(rest):
            path = path / os.fsdecode(part)
            if is_file and number == len(rest) - 1:
                path.touch(mode=0o644)
            else:
                path.mkdir(mode=0o755, exist_ok=True)
            os.chown(path, self._owner, self._owner)

    def _dress(self, top: int, parts: tuple[bytes, ...], path: Path) -> None:
        """A directory that the image has looks here as it does there."""
        held = _open(top, parts)
        assert held is not None
        status = os.fstat(held)
        os.close(held)
        os.chown(path, status.st_uid, status.st_gid)
        path.chmod(stat.S_IMODE(status.st_mode))
        self._times.append((path, status.st_mtime_ns))


def _open(top: int, parts: tuple[bytes, ...]) -> int | None:
    try:
        return libc.openat2(top, b"/".join(parts) or b".", os.O_PATH)
    except OSError:
        return None


def _odd(held: int, part: bytes) -> bool:
    """Whether ``held`` is no directory, or has something under that name that leads nowhere."""
    try:
        os.stat(part, dir_fd=held, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return True
    return True
