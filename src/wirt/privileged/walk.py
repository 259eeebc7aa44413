"""Names of a tar archive turned into open directories of the tree that this process is confined to.

Symlinks are followed by the kernel, whose "/" is the tree, so they lead anywhere in it and nowhere
else. A cache of the last parent saves most look-ups, since archives list a directory's files
together.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from wirt.errors import Invalid
from wirt.tar.member import show

MAX_DEPTH = 256
"""Components of a name in an archive."""

_MAX_LINKS = 40
_MAX_MADE = 4096
_FLAGS = os.O_PATH | os.O_DIRECTORY


def clean(name: bytes) -> tuple[bytes, ...]:
    """The components of an archive's name; a leading "/" and "." mean the tree's root.

    Raises Invalid when ``..`` leads out of the tree (CVE-2014-6407), or for a component longer
    than 255 bytes.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in {b"", b"."}:
            continue
        if part == b"..":
            if not parts:
                raise Invalid(
                    f"the archive names '{show(name)}', which lies outside of the tree",
                    hint="an archive may only hold names below its root",
                    code="archive.escapes",
                )
            parts.pop()
            continue
        if len(part) > 255:
            raise Invalid(
                f"the archive holds a name of {len(part)} bytes: '{show(part[:60])}...'",
                hint="a file name has at most 255 bytes",
                code="archive.malformed",
            )
        parts.append(part)
    if len(parts) > MAX_DEPTH:
        raise Invalid(
            f"the archive nests directories {len(parts)} levels deep",
            hint=f"{MAX_DEPTH} levels are allowed",
            code="archive.malformed",
        )
    return tuple(parts)


class Directories:
    """Opens directories below a root descriptor, making what is missing.

    ``on_made`` is told the components of each directory that had to be made, ``before`` those of
    the one that it is about to be made in, which is open.
    """

    def __init__(
        self,
        root: int,
        *,
        on_made: Callable[[tuple[bytes, ...]], None],
        before: Callable[[tuple[bytes, ...], int], None] | None = None,
    ) -> None:
        self._root = root
        self._on_made = on_made
        self._before = before
        self._last: tuple[bytes, ...] | None = None
        self._fd = -1

    def open(self, parts: tuple[bytes, ...]) -> int:
        """A descriptor (owned by this object, valid until the next call) of a directory.

        Raises NotADirectoryError when something else is in the way.
        """
        if parts == self._last:
            return self._fd
        self.forget()
        try:
            self._fd = os.open(b"/".join(parts) or b".", _FLAGS, dir_fd=self._root)
        except FileNotFoundError:
            self._fd = self._make(parts)
        self._last = parts
        return self._fd

    def forget(self) -> None:
        """Drop the cached directory: something on the way to it may have been replaced."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._last = -1, None

    def _make(self, parts: tuple[bytes, ...]) -> int:
        """Walk down, making directories, also those that a dangling symlink names."""
        waiting = list(reversed(parts))
        seen: tuple[bytes, ...] = ()
        links = made = 0
        fd = os.open(b".", _FLAGS, dir_fd=self._root)
        try:
            while waiting:
                part = waiting.pop()
                try:
                    below = os.open(part, _FLAGS, dir_fd=fd)
                except FileNotFoundError:
                    target = self._link_target(part, fd)
                    if target is None:
                        if self._before is not None:
                            self._before(seen, fd)
                        os.mkdir(part, 0o755, dir_fd=fd)
                        self._on_made((*seen, part))
                        waiting.append(part)
                        made += 1
                        if made > _MAX_MADE:  # somebody removes what is made here
                            raise
                        continue
                    links += 1
                    if links > _MAX_LINKS:
                        raise OSError(errno.ELOOP, "too many symlinks", part) from None
                    waiting += reversed([p for p in target.split(b"/") if p not in {b"", b"."}])
                    if target.startswith(b"/"):
                        os.close(fd)
                        fd, seen = os.open(b"/", _FLAGS), ()
                    continue
                os.close(fd)
                fd, seen = below, (*seen, part)
        except BaseException:
            os.close(fd)
            raise
        return fd

    @staticmethod
    def _link_target(part: bytes, fd: int) -> bytes | None:
        try:
            return os.readlink(part, dir_fd=fd)
        except FileNotFoundError:
            return None
