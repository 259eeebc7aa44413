"""``WWW-Authenticate`` (RFC 9110 section 11.6.1), scopes, and tokens of registries
(distribution's token specification)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from wirt.errors import Upstream
from wirt.image import document

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a grammar
_SCHEME = re.compile(rf"\s*({_TOKEN})(?:\s+|$)")
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*(?:,|$)')
MAX_HEADER = 8192
MAX_TOKEN = 64 * 1024
_DEFAULT_LIFE = 60.0
_LONGEST_LIFE = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way to be let in. ``scheme`` in lower case: ``basic`` or ``bearer``."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def scopes(self) -> frozenset[str]:
        """What a bearer token must be good for."""
        return frozenset(self.parameters.get("scope", "").split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token. ``life``: seconds. ``refresh``: a token with which to get others."""

    value: str = field(repr=False)
    life: float
    refresh: str = field(default="", repr=False)


def parse(headers: list[str]) -> tuple[Challenge, ...]:
    """All challenges; what is malformed ends the list."""
    found: list[Challenge] = []
    for header in headers:
        rest = header[:MAX_HEADER]
        while match := _SCHEME.match(rest):
            rest = rest[match.end() :]
            parameters: dict[str, str] = {}
            while pair := _PARAMETER.match(rest):
                rest = rest[pair.end() :]
                quoted = pair[2]
                value = pair[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                parameters.setdefault(pair[1].lower(), value)
            found.append(Challenge(scheme=match[1].lower(), parameters=parameters))
    return tuple(found)


def choose(challenges: tuple[Challenge, ...]) -> Challenge | None:
    """The one to answer: bearer before basic."""
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme:
                return challenge
    return None


def scope(repository: str, *actions: str) -> str:
    """``repository:NAME:pull,push``."""
    return f"repository:{repository}:{','.join(sorted(actions))}"


def merge(scopes: frozenset[str]) -> tuple[str, ...]:
    """Scopes with the actions of the same thing put together, sorted."""
    actions: dict[str, set[str]] = {}
    for text in scopes:
        thing, _, wanted = text.rpartition(":")
        actions.setdefault(thing, set()).update(wanted.split(","))
    return tuple(f"{thing}:{','.join(sorted(actions[thing]))}" for thing in sorted(actions))


def read_token(data: bytes, *, host: str) -> Token:
    """A token server's answer. Raises Upstream when there is no usable token in it."""
    what = "answer of the token server"
    node = document.parse(data, what)
    value = document.string(node, "token", what) or document.string(node, "access_token", what)
    if not value or len(value) > MAX_TOKEN or not value.isascii() or not value.isprintable():
        raise Upstream(f"the token server {host} gave no usable token", code="registry.token")
    said = node.get("expires_in")
    life = float(said) if isinstance(said, (int, float)) and said > 0 else _DEFAULT_LIFE
    return Token(
        value=value,
        life=min(life, _LONGEST_LIFE),
        refresh=document.string(node, "refresh_token", what)[:MAX_TOKEN],
    )
