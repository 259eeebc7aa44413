"""Users with passwords, as ``htpasswd -B`` writes them.

A bcrypt hash costs a core some 100 ms on purpose; so passwords are checked in a thread, few at a
time, and what was right is remembered for a minute under a salted hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable

import bcrypt

from wirt.errors import Invalid
from wirt.host.registry.refusals import too_many

REMEMBERED_SECONDS = 60.0
MOST_REMEMBERED = 1000
AT_ONCE = 2
MOST_WAITING = 64

_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)
_USER = re.compile(r"[!-9;-~]{1,64}", re.ASCII)  # printable without ':'
_MAX_COST = 14
_MAX_PASSWORD = 72
"""Bytes: bcrypt knows no more of a password."""


class Accounts:
    """The users of one listener. Raises Invalid for a text that is no htpasswd file."""

    def __init__(self, htpasswd: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._hashes = parse(htpasswd)
        self._clock = clock
        self._salt = secrets.token_bytes(32)
        self._known: dict[bytes, float] = {}
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    def __bool__(self) -> bool:
        return bool(self._hashes)

    @property
    def names(self) -> tuple[str, ...]:
        """Who there is."""
        return tuple(self._hashes)

    async def right(self, user: str, password: str) -> bool:
        """Whether this is the user's password. Raises Exhausted when too many ask at once."""
        said = f"{user}\0{password}".encode()
        mark = hmac.digest(self._salt, said, hashlib.sha256)
        if self._known.get(mark, 0.0) > self._clock():
            return True
        if self._waiting >= MOST_WAITING:
            raise too_many("logins at once")
        self._waiting += 1
        try:
            async with self._turn:
                found = await asyncio.to_thread(self._check, user, password)
        finally:
            self._waiting -= 1
        if found:
            self._remember(mark)
        return found

    def _check(self, user: str, password: str) -> bool:
        """An unknown user is compared with somebody else, so that time tells nothing."""
        if not self._hashes or "\0" in password:
            return False
        hashed = self._hashes.get(user)
        anybody = next(iter(self._hashes.values()))
        fits = bcrypt.checkpw(password.encode()[:_MAX_PASSWORD], hashed or anybody)
        return fits and hashed is not None

    def _remember(self, mark: bytes) -> None:
        now = self._clock()
        if len(self._known) >= MOST_REMEMBERED:
            self._known = {m: end for m, end in self._known.items() if end > now}
        if len(self._known) < MOST_REMEMBERED:
            self._known[mark] = now + REMEMBERED_SECONDS


def parse(text: str) -> dict[str, bytes]:
    """Users to their hashes. Raises Invalid with the line's number, never with its content."""
    found: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, _, hashed = line.strip().partition(":")
        match = _HASH.fullmatch(hashed)
        if not _USER.fullmatch(user) or match is None or not 4 <= int(match[1]) <= _MAX_COST:
            raise Invalid(
                f"line {number} of the htpasswd file is no user with a bcrypt hash",
                hint=f"make it with 'htpasswd -B' (cost at most {_MAX_COST})",
                code="registry.htpasswd",
            )
        if user in found:
            raise Invalid(
                f"line {number} of the htpasswd file names a user for the second time",
                code="registry.htpasswd",
            )
        found[user] = hashed.encode("ascii")
    return found
