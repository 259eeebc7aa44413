"""``/v1/images`` and ``/v1/registries``: what needs a registry: pull, push, look, search, log in.

Credentials come in the body and nowhere else, for the one registry that is asked.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from wirt.api.http import body
from wirt.api.http.operation import operation
from wirt.api.http.told import Tell, told
from wirt.host.look import Found, LoginWish, Look, LookWish, RemoteImage, SearchWish
from wirt.host.pull import Pull, PullWish
from wirt.host.push import Push, PushWish


class RemoteRoutes:
    """The routes to registries."""

    def __init__(self, *, pull: Pull, push: Push, look: Look) -> None:
        self._pull = pull
        self._push = push
        self._look = look

    def routes(self) -> list[web.RouteDef]:
        """All routes; none of them has a name in its path."""
        return [
            web.post("/v1/images/pull", self.pull),
            web.post("/v1/images/push", self.push),
            web.post("/v1/images/remote", self.inspect),
            web.post("/v1/images/search", self.search),
            web.post("/v1/registries/login", self.login),
        ]

    @operation("Pull an image from a registry", body=PullWish, answer=dict[str, Any], lines=True)
    async def pull(self, request: web.Request) -> web.StreamResponse:
        """Tells progress, one object a line; the last one of each image has its ``id``."""
        wish = await body.read(request, PullWish)

        async def work(tell: Tell) -> None:
            await self._pull.pull(wish, tell)

        return await told(request, work)

    @operation("Push an image to its registry", body=PushWish, answer=dict[str, Any], lines=True)
    async def push(self, request: web.Request) -> web.StreamResponse:
        """Tells progress, one object a line; the last one of each name has its ``digest``."""
        wish = await body.read(request, PushWish)

        async def work(tell: Tell) -> None:
            await self._push.push(wish, tell)

        return await told(request, work)

    @operation("An image at its registry", body=LookWish, answer=RemoteImage)
    async def inspect(self, request: web.Request) -> web.StreamResponse:
        """Nothing is stored."""
        return body.answer(await self._look.inspect(await body.read(request, LookWish)))

    @operation("Search a registry", body=SearchWish, answer=list[Found])
    async def search(self, request: web.Request) -> web.StreamResponse:
        """Docker Hub, or the registry that the term begins with."""
        return body.answer(await self._look.search(await body.read(request, SearchWish)))

    @operation("Try credentials at a registry", body=LoginWish, answer=dict[str, str])
    async def login(self, request: web.Request) -> web.StreamResponse:
        """The identity token to keep instead of a password; empty when the registry gives none."""
        token = await self._look.login(await body.read(request, LoginWish))
        return body.answer({"identity_token": token})
