"""Writing a tree as a tar stream, in a process that is confined to it. The tree may be alive:
its owner may rename, swap and truncate while we read.

Nothing is opened by a name that could have become a device or a FIFO: each object is first held
by O_PATH, looked at, and then opened again through ``/proc/self/fd`` of that very object.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Protocol

from wirt.errors import Invalid
from wirt.tar import writer
from wirt.tar.member import BLOCK, Member, Type

_CHUNK = 256 * 1024
_MAX_DEPTH = 400
KINDS = {
    stat.S_IFREG: Type.FILE,
    stat.S_IFDIR: Type.DIRECTORY,
    stat.S_IFLNK: Type.SYMLINK,
    stat.S_IFCHR: Type.CHAR,
    stat.S_IFBLK: Type.BLOCK,
    stat.S_IFIFO: Type.FIFO,
}
"""What can be in an archive; a socket cannot."""


class Sink(Protocol):
    """Takes bytes; returns when they are accepted."""

    def write(self, data: bytes, /) -> object: ...


class FdSink:
    """Writes all bytes into a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes, /) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


class FdSource:
    """Reads a descriptor from where it stands."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int, /) -> bytes:
        return os.read(self._fd, size)


def own_descriptors() -> int:
    """A descriptor of this process' /proc/self/fd; to be opened before the root is changed."""
    return os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY)


class Packer:
    """Writes objects as tar members. ``proc``: what :func:`own_descriptors` gave."""

    def __init__(self, sink: Sink, *, proc: int) -> None:
        self._sink = sink
        self._proc = proc
        self._links: dict[tuple[int, int], bytes] = {}

    def pack(self, leaf: bytes, parent: int, name: bytes) -> None:
        """Write ``leaf`` of the directory ``parent``, with all below it, under ``name``."""
        self._object(leaf, parent, name, 0)

    def finish(self) -> None:
        """Write the end of the archive."""
        self._sink.write(writer.END)

    def _object(self, leaf: bytes, parent: int, name: bytes, depth: int) -> None:
        try:
            held = os.open(leaf, os.O_PATH | os.O_NOFOLLOW, dir_fd=parent)
        except FileNotFoundError:
            if depth:
                return  # removed since the directory was listed
            raise
        try:
            status = os.fstat(held)
            kind = KINDS.get(stat.S_IFMT(status.st_mode))
            if kind is Type.FILE:
                self._file(held, status, name)
            elif kind is Type.DIRECTORY:
                self._directory(held, status, name, depth)
            elif kind is not None:  # a socket has no place in an archive
                link = os.readlink(b"", dir_fd=held) if kind is Type.SYMLINK else b""
                if not self._known(status, name):
                    self._sink.write(writer.encode(member_of(status, name, kind, link=link)))
        finally:
            os.close(held)

    def _known(self, status: os.stat_result, name: bytes) -> bool:
        """Whether this is a further name of a file already written: then write a hard link."""
        if status.st_nlink < 2:
            return False
        first = self._links.setdefault((status.st_dev, status.st_ino), name)
        if first == name:
            return False
        self._sink.write(writer.encode(member_of(status, name, Type.HARD_LINK, link=first)))
        return True

    def _file(self, held: int, status: os.stat_result, name: bytes) -> None:
        if self._known(status, name):
            return
        fd = os.open(b"%d" % held, os.O_RDONLY | os.O_NONBLOCK, dir_fd=self._proc)
        try:
            member = member_of(
                status, name, Type.FILE, size=status.st_size, xattrs=kept_attributes(fd)
            )
            self._sink.write(writer.encode(member, nanoseconds=True))
            left = status.st_size
            while left and (data := os.read(fd, min(left, _CHUNK))):
                self._sink.write(data)
                left -= len(data)
        finally:
            os.close(fd)
        while left:  # it shrank while we read; the header has promised this many bytes
            self._sink.write(bytes(min(left, _CHUNK)))
            left -= min(left, _CHUNK)
        self._sink.write(bytes(-status.st_size % BLOCK))

    def _directory(self, held: int, status: os.stat_result, name: bytes, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise Invalid(
                f"the directories are nested deeper than {_MAX_DEPTH} levels",
                hint="copy a part of the tree",
                code="archive.too-deep",
            )
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=held)
        try:
            member = member_of(status, name, Type.DIRECTORY, xattrs=kept_attributes(fd))
            self._sink.write(writer.encode(member, nanoseconds=True))
            for entry in sorted(os.fsencode(e) for e in os.listdir(fd)):  # noqa: PTH208 - a descriptor
                self._object(entry, fd, name + b"/" + entry, depth + 1)
        finally:
            os.close(fd)


def pack_all(out: int, *, proc: int) -> None:
    """Write the whole tree that this process is confined to, its root included."""
    packer = Packer(FdSink(out), proc=proc)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    packer.pack(b".", root, b".")
    packer.finish()


def member_of(
    status: os.stat_result,
    name: bytes,
    kind: Type,
    *,
    size: int = 0,
    link: bytes = b"",
    xattrs: dict[bytes, bytes] | None = None,
) -> Member:
    """The archive's entry for an object that was looked at."""
    device = kind in {Type.CHAR, Type.BLOCK}
    return Member(
        name=name,
        type=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=size,
        mtime=max(0, status.st_mtime_ns),
        link=link,
        major=os.major(status.st_rdev) if device else 0,
        minor=os.minor(status.st_rdev) if device else 0,
        xattrs=xattrs or {},
    )


def kept_attributes(fd: int) -> dict[bytes, bytes]:
    """The extended attributes of an open file that are carried along."""
    found = {}
    try:
        for name in os.listxattr(fd):
            if is_kept(name):
                found[os.fsencode(name)] = os.getxattr(fd, name)
    except OSError as error:
        if error.errno not in {errno.ENOTSUP, errno.ENODATA, errno.EPERM}:
            raise
    return found


def is_kept(name: str) -> bool:
    """Whether an extended attribute is the user's or a file capability; the rest belongs to this
    host, as do the books that an overlay keeps."""
    if name.startswith("user."):
        return not name.startswith("user.overlay.")
    return name == "security.capability"
