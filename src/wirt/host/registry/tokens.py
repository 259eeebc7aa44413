"""Bearer tokens: what a registry lets its bearer do for a few minutes.

A token is a JSON web token (RFC 7519) signed with HMAC-SHA256 by a key that lives as long as the
daemon and is nowhere written. Nothing in a token's header is believed: there is one algorithm and
one key, so ``alg``, ``jwk``, ``x5c`` and ``kid`` can choose nothing (CVE-2025-24976).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from wirt.errors import WirtError
from wirt.host.registry.refusals import unauthorized
from wirt.image.document import Object, parse
from wirt.model.image import is_path
from wirt.model.registry import Right

LIFE_SECONDS = 300
MAX_TOKEN = 16384
MAX_SCOPES = 64

_HEADER = {"typ": "JWT", "alg": "HS256"}
_BASE64 = re.compile(rb"[A-Za-z0-9_-]+")

ACTIONS = {
    "pull": frozenset({Right.PULL}),
    "push": frozenset({Right.CREATE, Right.PUSH}),
    "delete": frozenset({Right.DELETE}),
    "*": frozenset(Right),
}
"""The words of a scope (distribution, "Docker Registry Token Authentication") to rights."""


CATALOG = ""
"""Stands for the list of repositories among a token's rights: it has no name of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a token says: who bears it, and rights by repository. The right to pull
    :data:`CATALOG` lets the bearer list what they may pull."""

    user: str
    rights: dict[str, frozenset[Right]] = field(default_factory=dict)

    def narrowed(self, repository: str, rights: frozenset[Right]) -> frozenset[Right]:
        """Of these rights those that the token has too."""
        return rights & self.rights.get(repository, frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A repository and what is asked for."""

    repository: str
    rights: frozenset[Right]


def parse_scopes(texts: Iterable[str]) -> tuple[Scope, ...]:
    """``repository:NAME:pull,push`` and ``registry:catalog:*`` texts, each perhaps several with
    blanks between; what is not understood gives nothing."""
    words = [word for text in texts for word in text.split(" ") if word][:MAX_SCOPES]
    scopes = []
    for word in words:
        if word == "registry:catalog:*":
            scopes.append(Scope(repository=CATALOG, rights=ACTIONS["pull"]))
        kind, _, rest = word.partition(":")
        name, colon, actions = rest.rpartition(":")
        if kind != "repository" or not colon or not is_path(name):
            continue
        rights = frozenset[Right]().union(*(ACTIONS.get(a, ()) for a in actions.split(",")))
        scopes.append(Scope(repository=name, rights=rights))
    return tuple(scopes)


class Tokens:
    """Makes and reads the tokens of all listeners of this daemon."""

    def __init__(self, *, key: bytes | None = None, clock: Callable[[], float] = time.time) -> None:
        self._key = key or secrets.token_bytes(32)
        self._clock = clock

    def make(self, grant: Grant, service: str) -> str:
        """A token for a service, good for :data:`LIFE_SECONDS`."""
        now = int(self._clock())
        claims = {
            "iss": "wirt",
            "aud": service,
            "sub": grant.user,
            "iat": now,
            "nbf": now - 5,
            "exp": now + LIFE_SECONDS,
            "jti": secrets.token_hex(8),
            "access": [
                {"type": "repository", "name": name, "actions": sorted(r.value for r in rights)}
                for name, rights in grant.rights.items()
            ],
        }
        body = b".".join(_encode(part) for part in (_HEADER, claims))
        return (body + b"." + _base64(self._sign(body))).decode("ascii")

    def read(self, text: str, service: str) -> Grant:
        """What a token says. Raises Forbidden for every other than our own, whole and in time."""
        try:
            return self._read(text, service)
        except (ValueError, TypeError, KeyError, WirtError) as error:
            raise unauthorized("the registry again: the token does not count") from error

    def _read(self, text: str, service: str) -> Grant:
        if len(text) > MAX_TOKEN:
            raise ValueError("too long")
        body, _, signature = text.encode("ascii").rpartition(b".")
        if not hmac.compare_digest(_base64(self._sign(body)), signature):
            raise ValueError("not ours")
        header, _, claims = body.partition(b".")
        if _decode(header) != _HEADER:
            raise ValueError("another header")
        node = _decode(claims)
        now = self._clock()
        if node["aud"] != service or not node["nbf"] <= now < node["exp"]:
            raise ValueError("for another service or time")
        rights = {
            entry["name"]: frozenset(Right(action) for action in entry["actions"])
            for entry in node["access"]
        }
        return Grant(user=str(node["sub"]), rights=rights)

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _encode(node: object) -> bytes:
    return _base64(json.dumps(node, separators=(",", ":")).encode())


def _decode(text: bytes) -> Object:
    if not _BASE64.fullmatch(text):
        raise ValueError("no base64url")
    try:
        data = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("no base64url") from error
    return parse(data, "token")
