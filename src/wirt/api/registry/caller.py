"""Who is asking, and what they may do: Basic and Bearer credentials of a request."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from aiohttp import web

from wirt.errors import WirtError
from wirt.host.registry.access import Access
from wirt.host.registry.accounts import Accounts
from wirt.host.registry.refusals import denied, unauthorized
from wirt.host.registry.tokens import CATALOG, Grant, Tokens
from wirt.model.registry import ANYBODY, Right

MAX_CREDENTIALS = 16384

_WORDS = {
    Right.PULL: "pull from",
    Right.CREATE: "push to",
    Right.PUSH: "push to",
    Right.DELETE: "delete from",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """``grant``: what a token narrows the user's rights to, None without a token."""

    user: str
    access: Access
    grant: Grant | None = None

    def rights(self, repository: str) -> frozenset[Right]:
        """What they may do with a repository."""
        own = self.access.rights(self.user, repository)
        return own if self.grant is None else self.grant.narrowed(repository, own)

    def may(self, right: Right, repository: str) -> bool:
        """Whether they may do this."""
        return right in self.rights(repository)

    def sees(self, repository: str) -> bool:
        """Whether a list may show them this repository."""
        if self.grant is not None and Right.PULL in self.grant.rights.get(CATALOG, ()):
            return Right.PULL in self.access.rights(self.user, repository)
        return self.may(Right.PULL, repository)


class Gate:
    """Reads credentials for one listener. ``service``: whom its tokens are for."""

    def __init__(self, *, access: Access, accounts: Accounts, tokens: Tokens, service: str) -> None:
        self.access = access
        self.accounts = accounts
        self.tokens = tokens
        self.service = service

    async def caller(self, request: web.BaseRequest) -> Caller:
        """Who is asking. Raises Forbidden for credentials that do not count."""
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        if not self.accounts or not scheme:
            return Caller(user=ANYBODY, access=self.access)
        if scheme.lower() == "bearer":
            grant = self.tokens.read(rest.strip(), self.service)
            if grant.user != ANYBODY and grant.user not in self.accounts.names:
                raise unauthorized("the registry: the user is gone")
            return Caller(user=grant.user, access=self.access, grant=grant)
        if scheme.lower() == "basic":
            user, password = basic(rest)
            return await self.login(user, password)
        raise unauthorized("the registry with Basic or Bearer credentials")

    async def login(self, user: str, password: str) -> Caller:
        """The user with this password. Raises Forbidden."""
        if not await self.accounts.right(user, password):
            raise unauthorized("the registry: user or password is wrong")
        return Caller(user=user, access=self.access)

    def refuse(self, caller: Caller, right: Right, repository: str) -> WirtError:
        """The error for a right that is missing: whoever could get it by logging in, or with a
        wider token, is asked to."""
        action = f"{_WORDS[right]} {repository}"
        wider = caller.grant is not None and right in self.access.rights(caller.user, repository)
        if self.accounts and (caller.user == ANYBODY or wider):
            return unauthorized(action)
        return denied(action)

    def challenge(self, request: web.BaseRequest, scope: str) -> str:
        """The WWW-Authenticate header of a 401: where a token is to be had, and for what."""
        scheme = "https" if request.transport and request.secure else "http"
        host = request.headers.get("Host", "")
        if not host or not all(c.isascii() and (c.isalnum() or c in ".-:[]") for c in host):
            host = ":".join(map(str, (request.get_extra_info("sockname") or ())[:2]))
        text = f'Bearer realm="{scheme}://{host}/token",service="{self.service}"'
        if scope:
            text += f',scope="{scope}"'
        if request.headers.get("Authorization", "").lower().startswith("bearer"):
            text += ',error="insufficient_scope"' if scope else ',error="invalid_token"'
        return text


def basic(text: str) -> tuple[str, str]:
    """User and password (RFC 7617). Raises Forbidden; never repeats what was sent."""
    try:
        if len(text) > MAX_CREDENTIALS:
            raise ValueError
        decoded = base64.b64decode(text.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        raise unauthorized("the registry: the Basic credentials are malformed") from error
    user, _, password = decoded.partition(":")
    return user, password
