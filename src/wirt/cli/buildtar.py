"""A build context as a tar stream, written by hand: the client's start is part of every build.

Owners and times are not sent: what a build makes of the files does not depend on them.
"""

from __future__ import annotations

import posix

from wirt.cli.flags import misuse
from wirt.cli.output import warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from wirt.model.ignore import Ignore

BLOCK = 512
PART = 1 << 20
_DIRECTORY, _REGULAR, _SYMLINK, _FIFO = 0o040000, 0o100000, 0o120000, 0o010000


def pack(path: str, ignore: Ignore | None, *, prefix: str = "") -> Iterator[bytes]:
    """Everything below the directory ``path``, without what is ignored; no end of archive.

    ``prefix``: put before every name. Links and odd files are sent as what they are; sockets and
    devices cannot be sent.
    """
    first: dict[tuple[int, int], str] = {}
    pending = [("", -1)]
    while pending:
        below, state = pending.pop()
        if below:
            if ignore is None or not ignore.is_out(state):
                yield from _entry(path, below, prefix, first)
            if not _is_directory(f"{path}/{below}"):
                continue
        inner: list[tuple[str, int]] = []
        for name in _names(path, below):
            one = f"{below}/{name}" if below else name
            after = ignore.step(one, state) if ignore is not None else -1
            if ignore is None or not ignore.is_out(after) or _walks(path, one, ignore, after):
                inner.append((one, after))
        pending += reversed(inner)


def _walks(path: str, below: str, ignore: Ignore, state: int) -> bool:
    """Whether a directory that is left out must be looked into all the same."""
    return ignore.may_take_back_below(below, state) and _is_directory(f"{path}/{below}")


def _is_directory(path: str) -> bool:
    try:
        return posix.lstat(path).st_mode & 0o170000 == _DIRECTORY
    except OSError:
        return False


def _names(path: str, below: str) -> list[str]:
    where = f"{path}/{below}" if below else path
    try:
        return sorted(posix.listdir(where))
    except OSError as error:
        raise misuse(
            f"cannot read {where}: {error.strerror}",
            hint="may you read it? .dockerignore can leave it out",
        ) from error


def _entry(
    path: str, below: str, prefix: str, first: dict[tuple[int, int], str]
) -> Iterator[bytes]:
    where = f"{path}/{below}"
    try:
        status = posix.lstat(where)
        kind = status.st_mode & 0o170000
        link = posix.readlink(where) if kind == _SYMLINK else ""
    except OSError as error:
        raise misuse(f"cannot read {where}: {error.strerror}", hint="is it there?") from error
    name, mode = prefix + below, status.st_mode & 0o7777
    if kind == _DIRECTORY:
        yield header(name, mode, b"5")
    elif kind == _SYMLINK:
        yield header(name, 0o777, b"2", link=link)
    elif kind == _FIFO:
        yield header(name, mode, b"6")
    elif kind != _REGULAR:
        warn(f"{where} is a socket or device and is left out of the build context")
    else:
        known = name
        if status.st_nlink > 1:
            known = first.setdefault((status.st_dev, status.st_ino), name)
        if known != name:
            yield header(name, mode, b"1", link=known)
            return
        yield from _file(where, header(name, mode, b"0", size=status.st_size), status.st_size)


def _file(where: str, head: bytes, size: int) -> Iterator[bytes]:
    """Exactly as many bytes as the header says, also when the file changes meanwhile."""
    left = size
    try:
        fd = posix.open(where, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    except OSError as error:
        raise misuse(
            f"cannot read {where}: {error.strerror}",
            hint="may you read it? .dockerignore can leave it out",
        ) from error
    try:
        while left and (data := posix.read(fd, min(left, PART))):
            left -= len(data)
            yield head + data
            head = b""
    finally:
        posix.close(fd)
    if left:
        warn(f"{where} became shorter while it was sent; the rest is zeros")
    while left:
        data = bytes(min(left, PART))
        left -= len(data)
        yield head + data
        head = b""
    yield head + bytes(-size % BLOCK)


def header(name: str, mode: int, flag: bytes, *, size: int = 0, link: str = "") -> bytes:
    """A ustar header, with a PAX header before it for what does not fit (pax(1))."""
    raw, target = _bytes(name), _bytes(link)
    extra = b""
    if len(raw) > 100:
        extra += _record(b"path", raw)
    if len(target) > 100:
        extra += _record(b"linkpath", target)
    if size > 0o77777777777:
        extra += _record(b"size", b"%d" % size)
    block = _block(raw, mode, flag, size, target)
    if not extra:
        return block
    front = _block(b"PaxHeaders/" + raw[-60:], 0o644, b"x", len(extra), b"")
    return front + extra + bytes(-len(extra) % BLOCK) + block


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while length != len(rest) + len(b"%d" % length):
        length = len(rest) + len(b"%d" % length)
    return b"%d" % length + rest


def _block(name: bytes, mode: int, flag: bytes, size: int, link: bytes) -> bytes:
    shown = size if size <= 0o77777777777 else 0
    block = bytearray(BLOCK)
    block[0:100] = name[:100].ljust(100, b"\0")
    block[100:136] = b"%07o\x000000000\x000000000\x00%011o\x00" % (mode, shown)
    block[136:156] = b"00000000000\x00        "
    block[156:157] = flag
    block[157:257] = link[:100].ljust(100, b"\0")
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
