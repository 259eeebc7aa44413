"""Making one file system object from a tar member, in a process that is confined to its tree.

Everything is relative to an open parent directory and nothing existing is ever opened, so neither
a symlink, a FIFO nor a device in the way can be followed or blocked on.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from wirt.tar.header import malformed
from wirt.tar.member import FORMAT_BITS, Member, Type, show

_KEPT_XATTRS = (b"user.", b"security.capability")
_DROPPED_XATTRS = (b"user.overlay.",)


class Content(Protocol):
    """The bytes of the current member."""

    def chunks(self) -> Iterator[bytes]: ...

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The owner given to everything instead of the archive's."""

    uid: int
    gid: int


def make(member: Member, leaf: bytes, parent: int, *, content: Content, owner: Owner) -> None:
    """Create ``leaf`` in the directory ``parent``; it must not exist. Not for hard links.

    A directory is created with its attributes except the time, which later entries would change.
    """
    match member.type:
        case Type.FILE:
            _file(member, leaf, parent, content, owner)
            return
        case Type.DIRECTORY:
            os.mkdir(leaf, 0o700, dir_fd=parent)
            dress_directory(member, leaf, parent, owner=owner)
            return
        case Type.SYMLINK:
            if not member.link:
                raise malformed(f"the symlink '{show(member.name)}' leads nowhere")
            os.symlink(member.link, leaf, dir_fd=parent)
        case Type.CHAR | Type.BLOCK | Type.FIFO:
            _node(member, leaf, parent)
        case Type.HARD_LINK:
            raise AssertionError("hard links have no content of their own")
    os.chown(leaf, owner.uid, owner.gid, dir_fd=parent, follow_symlinks=False)
    if member.type is not Type.SYMLINK:
        os.chmod(leaf, member.mode, dir_fd=parent)
    _set_xattrs_by_name(member, leaf, parent)
    os.utime(leaf, ns=(member.mtime, member.mtime), dir_fd=parent, follow_symlinks=False)


def dress_directory(member: Member, leaf: bytes, parent: int, *, owner: Owner) -> None:
    """Give an existing directory the member's owner, mode and extended attributes."""
    fd = os.open(leaf, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        os.fchown(fd, owner.uid, owner.gid)
        os.fchmod(fd, member.mode)
        for name in _listxattr(fd):
            if _keeps(name) and name not in member.xattrs:
                os.removexattr(fd, name)
        _set_xattrs(member, fd)
    finally:
        os.close(fd)


def _file(member: Member, leaf: bytes, parent: int, content: Content, owner: Owner) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    fd = os.open(leaf, flags, 0o600, dir_fd=parent)
    try:
        if member.segments is None:
            for chunk in content.chunks():
                _write(fd, chunk)
        else:
            _sparse(member, fd, content)
        os.fchown(fd, owner.uid, owner.gid)
        os.fchmod(fd, member.mode)
        _set_xattrs(member, fd)
        os.utime(fd, ns=(member.mtime, member.mtime))
    finally:
        os.close(fd)


def _sparse(member: Member, fd: int, content: Content) -> None:
    for offset, length in member.segments or ():
        os.lseek(fd, offset, os.SEEK_SET)
        while length and (chunk := content.read(min(length, 256 * 1024))):
            _write(fd, chunk)
            length -= len(chunk)
    os.ftruncate(fd, member.real_size)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _node(member: Member, leaf: bytes, parent: int) -> None:
    if member.major >= 1 << 12 or member.minor >= 1 << 20 or min(member.major, member.minor) < 0:
        raise malformed(f"the device numbers of '{show(member.name)}' are out of range")
    device = os.makedev(member.major, member.minor)
    os.mknod(leaf, FORMAT_BITS[member.type] | 0o600, device, dir_fd=parent)


def _keeps(name: bytes) -> bool:
    return name.startswith(_KEPT_XATTRS) and not name.startswith(_DROPPED_XATTRS)


def _listxattr(target: int) -> list[bytes]:
    try:
        return [os.fsencode(name) for name in os.listxattr(target)]
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise


def _set_xattrs(member: Member, target: int | bytes) -> None:
    """Attributes that mean something to the kernel elsewhere (``trusted.overlay.*``, ACLs, labels
    of a security module that is not here) are not taken over."""
    for name, value in member.xattrs.items():
        if not _keeps(name):
            continue
        try:
            os.setxattr(target, name, value, follow_symlinks=isinstance(target, int))
        except OSError as error:
            tolerable = {errno.ENOTSUP}
            if isinstance(target, bytes):  # user attributes exist on files and directories only
                tolerable.add(errno.EPERM)
            if error.errno not in tolerable or not name.startswith(b"user."):
                error.filename = member.name
                raise


def _set_xattrs_by_name(member: Member, leaf: bytes, parent: int) -> None:
    if not member.xattrs:
        return
    before = os.open(".", os.O_PATH | os.O_DIRECTORY)
    try:
        os.fchdir(parent)
        _set_xattrs(member, leaf)
    finally:
        with contextlib.suppress(OSError):
            os.fchdir(before)
        os.close(before)
