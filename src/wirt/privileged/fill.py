"""Filling an empty volume from the image's directory at its mount point (docker's "copy-up")."""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path

from wirt.linux import libc
from wirt.privileged import jail
from wirt.privileged.copyin import CopyIn
from wirt.privileged.overlay import private_mounts
from wirt.privileged.pack import FdSource, own_descriptors, pack_all
from wirt.privileged.protocol import Done
from wirt.tar.reader import Bounds, Reader

_MARK = "filling"


def fill_volume(volume: Path, root: int, target: str) -> bool:
    """Copy ``target``, resolved inside the tree ``root`` (a descriptor), into ``volume/_data``.

    Only when the volume is empty, or when an earlier filling was cut off; whether it was done.
    The volume gets the directory's owner, mode and time too. Nothing is done when the image has no
    directory there. The volume keeps its inode, since another guest may have it mounted.
    """
    data, mark = volume / "_data", volume / _MARK
    if not mark.exists() and any(data.iterdir()):
        return False
    try:
        source = libc.openat2(root, target, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        mark.touch()
        _copy(source, data)
        status = os.fstat(source)
        os.chown(data, status.st_uid, status.st_gid)
        data.chmod(stat.S_IMODE(status.st_mode))
        os.utime(data, ns=(status.st_mtime_ns, status.st_mtime_ns))
        mark.unlink()
    finally:
        os.close(source)
    return True


def _copy(source: int, data: Path) -> None:
    """One confined child reads the image's tree, another writes the volume; a pipe joins them."""
    reader, writer = os.pipe()
    proc: list[int] = []
    target = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    def enter_source() -> None:
        proc.append(own_descriptors())
        os.fchdir(source)
        os.chroot(".")

    def enter_target() -> None:
        private_mounts()
        os.fchdir(target)
        os.chroot(".")

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            rights = jail.Rights(capabilities=jail.READER, keep=(source, writer))
            jail.run(lambda: _pack(writer, proc[0]), Done, enter=enter_source, rights=rights)
            status = 0
        finally:
            os._exit(status)
    try:
        os.close(writer)
        rights = jail.Rights(capabilities=jail.WRITER, keep=(target, reader))
        jail.run(partial(_unpack, reader), Done, enter=enter_target, rights=rights)
    finally:
        for fd in (reader, target):
            os.close(fd)
        os.waitpid(pid, 0)


def _pack(out: int, proc: int) -> Done:
    pack_all(out, proc=proc)
    return Done()


def _unpack(archive: int) -> Done:
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    copy = CopyIn(root, strict=False, owner=None)
    copy.unpack(Reader(FdSource(archive), bounds=Bounds()))
    return Done()
