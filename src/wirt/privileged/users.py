"""Docker's ``USER[:GROUP]`` looked up in a guest's own passwd(5) and group(5), which are hostile.

Never root by accident: what cannot be found or read is an error. Only regular files are read,
without blocking and up to :data:`MAX_FILE` bytes, and no symlink leads out of the guest's root.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from wirt.errors import Invalid, NotFound
from wirt.linux import libc
from wirt.privileged.protocol import ResolvedUser

MAX_FILE = 8 * 1024 * 1024
MAX_ID = 2**31 - 1
MAX_GROUPS = 65_536
"""NGROUPS_MAX of the kernel."""


@dataclass(frozen=True, slots=True)
class _Account:
    name: bytes
    uid: bytes
    gid: bytes
    home: bytes


def resolve(root: int, text: str) -> ResolvedUser:
    """Look up ``text`` below the directory descriptor ``root``. Empty means uid 0.

    Names win over numbers, as in docker. Supplementary groups are those that list the user, and
    none when a group is given. Raises NotFound for an unknown name, Invalid for anything
    malformed, above 2^31-1, or for a passwd or group file that is none.
    """
    user, _, group = text.partition(":")
    if any(ord(c) < 0x20 or c == "\x7f" for c in text) or len(text) > 512:
        raise Invalid(f"invalid user {text[:80]!r}", code="user.invalid")
    wanted = os.fsencode(user or "0")
    account = _find_account(root, wanted)
    if account is not None:
        uid, gid = _stored(account.uid, user), _stored(account.gid, user)
    else:
        uid, gid = _given(user or "0", "user", "/etc/passwd"), 0
    groups: tuple[int, ...] = ()
    if group:
        gid = _find_group(root, group)
    elif account is not None:
        groups = _groups_of(root, account.name)
    return ResolvedUser(uid=uid, gid=gid, groups=groups, home=_home(account))


def _find_account(root: int, wanted: bytes) -> _Account | None:
    by_number: _Account | None = None
    number = _number(wanted)
    for fields in _rows(root, "etc/passwd", 4):
        account = _Account(fields[0], fields[2], fields[3], fields[5] if len(fields) > 5 else b"")
        if account.name == wanted:
            return account
        if by_number is None and number is not None and _number(account.uid) == number:
            by_number = account
    return by_number


def _find_group(root: int, group: str) -> int:
    wanted = os.fsencode(group)
    for fields in _rows(root, "etc/group", 3):
        if fields[0] == wanted:
            return _stored(fields[2], group)
    return _given(group, "group", "/etc/group")


def _groups_of(root: int, name: bytes) -> tuple[int, ...]:
    found: dict[int, None] = {}
    for fields in _rows(root, "etc/group", 4):
        if name and name in fields[3].split(b","):
            found[_stored(fields[2], os.fsdecode(fields[0]))] = None
            if len(found) > MAX_GROUPS:
                raise Invalid(
                    f"user {os.fsdecode(name)[:80]!r} is in more than {MAX_GROUPS} groups",
                    code="user.groups",
                )
    return tuple(found)


def _given(text: str, what: str, file: str) -> int:
    """A number that the user typed; it needs no entry."""
    number = _number(os.fsencode(text))
    if number is None:
        raise NotFound(
            f"{what} {text[:80]!r} is not in the guest's {file}",
            hint="give a name that is there, or a number",
            code=f"{what}.unknown",
        )
    if number > MAX_ID:
        raise Invalid(f"{what} {text[:80]!r} is above {MAX_ID}", code=f"{what}.invalid")
    return number


def _stored(raw: bytes, whose: str) -> int:
    """A number from the guest's files; a broken one is never taken for 0."""
    number = _number(raw)
    if number is None or number > MAX_ID:
        raise Invalid(
            f"the guest's entry for {whose[:80]!r} has the number {raw[:40]!r}",
            hint=f"numbers go from 0 to {MAX_ID}",
            code="user.broken",
        )
    return number


def _number(raw: bytes) -> int | None:
    # Longer than any valid number is not converted: int() is quadratic.
    if not raw.isdigit():
        return None
    return int(raw) if len(raw) <= 20 else MAX_ID + 1


def _home(account: _Account | None) -> str:
    if account is None or not account.home.startswith(b"/") or b"\0" in account.home:
        return "/"
    try:
        return account.home.decode()
    except UnicodeDecodeError:
        return "/"


def _rows(root: int, path: str, least: int) -> Iterator[list[bytes]]:
    """The lines of a colon-separated file with at least ``least`` fields."""
    for line in read_small(root, path).split(b"\n"):
        fields = line.strip().split(b":")
        if len(fields) >= least and not line.startswith(b"#"):
            yield fields


def read_small(root: int, path: str) -> bytes:
    """A file of the guest: empty when it is not there. Never blocks, never leaves ``root``.

    Raises Invalid when it is not a regular file or above :data:`MAX_FILE` bytes.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    resolve = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS
    try:
        fd = libc.openat2(root, path, flags, resolve=resolve)
    except FileNotFoundError:
        return b""
    except OSError as error:
        if error.errno in {errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV}:
            raise _not_a_file(path) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _not_a_file(path)
        data = bytearray()
        while chunk := os.read(fd, MAX_FILE + 1 - len(data)):
            data += chunk
            if len(data) > MAX_FILE:
                raise Invalid(
                    f"the guest's /{path} is larger than {MAX_FILE} bytes",
                    hint="the image is broken",
                    code="user.file",
                )
        return bytes(data)
    finally:
        os.close(fd)


def _not_a_file(path: str) -> Invalid:
    return Invalid(
        f"the guest's /{path} is not a regular file", hint="the image is broken", code="user.file"
    )
