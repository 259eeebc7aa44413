"""Answers of clients that were asked what their user has for a registry."""

from __future__ import annotations

import msgspec
from aiohttp import web

from wirt.api.http import body
from wirt.api.http.operation import operation
from wirt.host.build.wallets import Wallets
from wirt.image.remote.auth import ANONYMOUS, Credentials


class CredentialsAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``credentials``: left out when the user has none for this registry."""

    registry: str
    credentials: Credentials = ANONYMOUS

    def __repr__(self) -> str:
        """Without what is secret."""
        return f"CredentialsAnswer(registry={self.registry!r})"


class BuildCredentialRoutes:
    """The route of answers."""

    def __init__(self, *, wallets: Wallets) -> None:
        self._wallets = wallets

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [web.post("/v1/build/credentials/{token}", self.take)]

    @operation(
        "Answer a build that asks what the user has for a registry",
        body=CredentialsAnswer,
        status=204,
    )
    async def take(self, request: web.Request) -> web.StreamResponse:
        """The question is the line ``{"credentials": REGISTRY}`` of a build whose wish has a
        ``credentials_token``: 32 hex digits that the client made up, and ``token`` here. The build
        waits for the answer; after a while it goes on without credentials. Only a registry that
        was asked for is taken, for that build alone."""
        given = await body.read(request, CredentialsAnswer)
        self._wallets.take(request.match_info["token"], given.registry, given.credentials)
        return web.Response(status=204)
