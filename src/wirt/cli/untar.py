"""A guest's tar stream into local files. The guest is hostile: nothing may land outside.

Every path is walked with ``openat`` and ``O_NOFOLLOW`` below the destination's descriptor, so
neither ``..`` nor a link that the archive itself made leads out (openat(2)). Devices are never
made, and set-user-id bits are kept only with ``keep_owner``.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from typing import IO

from wirt.cli.output import warn
from wirt.errors import Invalid

PART = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Reader:
    """A stream of chunks as the file that tarfile reads."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end."""
        parts = []
        while size:
            if not self._rest:
                self._rest = next(self._chunks, b"")
                if not self._rest:
                    break
            part, self._rest = self._rest[:size], self._rest[size:]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def drain(self) -> None:
        """Read to the end: the padding behind the archive."""
        self._rest = b""
        for _ in self._chunks:
            pass


class Unpacker:
    """Unpacks below the directory ``root``; the archive's top name becomes ``rename``.

    ``rename`` ``"."`` puts the top directory's entries into ``root``; empty changes nothing.
    """

    def __init__(self, root: str, *, top: str, rename: str, keep_owner: bool) -> None:
        self._root_path = root
        self._top = top
        self._rename = rename
        self._keep_owner = keep_owner
        self._late: list[tuple[list[str], tarfile.TarInfo]] = []

    def unpack(self, chunks: Iterator[bytes]) -> None:
        """Raises Invalid for names that lead out and archives that are none, OSError else."""
        reader = Reader(chunks)
        self._root = os.open(self._root_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with tarfile.open(fileobj=reader, mode="r|") as archive:  # type: ignore[call-overload]
                for member in archive:
                    self._member(archive, member)
            for parts, member in reversed(self._late):
                self._finish_directory(parts, member)
            reader.drain()
        except tarfile.TarError as error:
            raise Invalid(f"the guest's archive is damaged: {error}", code="cp.archive") from error
        finally:
            os.close(self._root)

    def _parts(self, name: str) -> list[str]:
        """Components below the root after renaming; empty for the root itself."""
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if ".." in parts or "\0" in name:
            raise Invalid(f"the guest's archive has the name {name!r}, which leads out of it")
        if not self._rename or not parts:
            return parts
        if self._top and parts[0] == self._top:
            parts = parts[1:]
        return parts if self._rename == "." else [self._rename, *parts]

    def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = self._parts(member.name)
        if not parts:
            if not member.isdir():
                raise Invalid(f"the guest's archive has the name {member.name!r}")
            return
        parent = self._open_parent(parts[:-1])
        try:
            self._make(archive, member, parts, parent)
        finally:
            os.close(parent)

    def _make(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, parts: list[str], parent: int
    ) -> None:
        name = parts[-1]
        if member.isdir():
            self._directory(name, parent)
            self._late.append((parts, member))
            return
        self._clear(name, parent)
        if member.isreg():
            source = archive.extractfile(member)
            assert source is not None
            self._file(source, member, name, parent)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
            self._own(member, name, parent)
        elif member.islnk():
            self._hard_link(member, name, parent)
        elif member.isfifo():
            os.mkfifo(name, self._mode(member), dir_fd=parent)
            self._own(member, name, parent)
        else:
            warn(f"{member.name} is a device and is left out")

    def _open_parent(self, parts: list[str]) -> int:
        fd = os.dup(self._root)
        try:
            for part in parts:
                try:
                    inner = os.open(part, _DIRECTORY, dir_fd=fd)
                except FileNotFoundError:
                    os.mkdir(part, 0o777, dir_fd=fd)
                    inner = os.open(part, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = inner
        except OSError as error:
            os.close(fd)
            error.filename = f"{self._root_path}/{'/'.join(parts)}"
            raise
        return fd

    def _directory(self, name: str, parent: int) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                raise Invalid(
                    f"cannot put the directory {name!r} in the place of a file",
                    hint="remove the file first, or choose another destination",
                ) from None

    def _clear(self, name: str, parent: int) -> None:
        """Make room: what is there is unlinked, never written through. A device is left alone:
        without ``/dev/null`` a host is broken."""
        try:
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                raise Invalid(
                    f"cannot put the file {name!r} in the place of a device",
                    hint="choose another destination, or write '-' for a tar stream",
                )
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            raise Invalid(
                f"cannot put the file {name!r} in the place of a directory",
                hint="remove the directory first, or choose another destination",
            ) from None

    def _file(self, source: IO[bytes], member: tarfile.TarInfo, name: str, parent: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            while data := source.read(PART):
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
            if self._keep_owner:
                os.fchown(fd, member.uid, member.gid)
            os.fchmod(fd, self._mode(member))
            os.utime(fd, (member.mtime, member.mtime))
        finally:
            os.close(fd)

    def _hard_link(self, member: tarfile.TarInfo, name: str, parent: int) -> None:
        """Only to something that is inside; the last component is not followed."""
        target = self._parts(member.linkname)
        if not target:
            raise Invalid(f"the guest's archive links {member.name!r} to a directory")
        source = self._open_parent(target[:-1])
        try:
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def _own(self, member: tarfile.TarInfo, name: str, parent: int) -> None:
        if self._keep_owner:
            os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)

    def _finish_directory(self, parts: list[str], member: tarfile.TarInfo) -> None:
        """Owner, mode and time last, so that a read-only directory could be filled."""
        fd = self._open_parent(parts)
        try:
            if self._keep_owner:
                os.fchown(fd, member.uid, member.gid)
            os.fchmod(fd, self._mode(member))
            os.utime(fd, (member.mtime, member.mtime))
        finally:
            os.close(fd)

    def _mode(self, member: tarfile.TarInfo) -> int:
        return member.mode & (0o7777 if self._keep_owner else 0o777)
