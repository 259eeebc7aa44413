"""Local files as a tar stream, for ``cp`` into a guest: nothing is held in memory but one block."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator

from wirt.cli.flags import misuse
from wirt.cli.output import warn

BLOCK = 512
PART = 1 << 20


def pack(path: str, name: str, *, keep_owner: bool, contents: bool) -> Iterator[bytes]:
    """``path`` as a tar whose top entry is ``name``; ``contents``: its entries alone.

    Without ``keep_owner`` everything belongs to root. Sockets cannot be copied and are left out.
    A file with several names in there is sent once, then linked to.
    """
    first: dict[tuple[int, int], str] = {}
    if contents:
        for inner in _names(path):
            whole = os.path.join(path, inner)  # noqa: PTH118
            yield from _entry(whole, inner, keep_owner=keep_owner, first=first)
    else:
        yield from _entry(path, name, keep_owner=keep_owner, first=first)
    yield bytes(2 * BLOCK)


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))  # noqa: PTH208 - bytes-safe names
    except OSError as error:
        raise misuse(f"cannot read {path}: {error.strerror}", hint="may you read it?") from error


def _entry(
    path: str, name: str, *, keep_owner: bool, first: dict[tuple[int, int], str]
) -> Iterator[bytes]:
    pending = [(path, name)]
    while pending:
        path, name = pending.pop()
        try:
            status = os.lstat(path)
        except OSError as error:
            raise misuse(f"cannot read {path}: {error.strerror}", hint="is it there?") from error
        header = _header(path, name, status, keep_owner=keep_owner)
        if header is None:
            warn(f"{path} is a socket and cannot be copied")
            continue
        if header.isreg() and status.st_nlink > 1:
            known = first.setdefault((status.st_dev, status.st_ino), name)
            if known != name:
                header.type, header.linkname, header.size = tarfile.LNKTYPE, known, 0
        yield header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        if header.isreg():
            yield from _data(path, header.size)
        elif header.isdir():
            inner = [(os.path.join(path, one), f"{name}/{one}") for one in _names(path)]  # noqa: PTH118
            pending += reversed(inner)


def _header(
    path: str, name: str, status: os.stat_result, *, keep_owner: bool
) -> tarfile.TarInfo | None:
    mode = status.st_mode
    header = tarfile.TarInfo(name)
    header.mode = stat.S_IMODE(mode)
    header.mtime = int(status.st_mtime)
    if keep_owner:
        header.uid, header.gid = status.st_uid, status.st_gid
    if stat.S_ISREG(mode):
        header.size = status.st_size
    elif stat.S_ISDIR(mode):
        header.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(mode):
        header.type = tarfile.SYMTYPE
        header.linkname = os.readlink(path)  # noqa: PTH115 - a name, not a path of ours
    elif stat.S_ISFIFO(mode):
        header.type = tarfile.FIFOTYPE
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        header.type = tarfile.CHRTYPE if stat.S_ISCHR(mode) else tarfile.BLKTYPE
        header.devmajor, header.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    else:
        return None
    return header


def _data(path: str, size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes and the padding, also when the file changes meanwhile."""
    left = size
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a plain descriptor
            while left and (data := file.read(min(left, PART))):
                left -= len(data)
                yield data
    except OSError as error:
        raise misuse(f"cannot read {path}: {error.strerror}", hint="may you read it?") from error
    if left:
        warn(f"{path} became shorter while it was copied; the rest is zeros")
    while left:
        data = bytes(min(left, PART))
        left -= len(data)
        yield data
    yield bytes(-size % BLOCK)
