"""``/v1/images`` and ``/v1/registries``: what needs a registry: pull, push, look, search, log in.

Credentials come in the body and nowhere else, for the one registry that is asked.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from wirt.api.http import body
from wirt.api.http.operation import operation
from wirt.api.http.told import Tell, told
from wirt.host.pull import Pull, PullWish


class RemoteRoutes:
    """The routes to registries."""

    def __init__(self, *, pull: Pull) -> None:
        self._pull = pull

    def routes(self) -> list[web.RouteDef]:
        """All routes; they come before those with a name in their path."""
        return [
            web.post("/v1/images/pull", self.pull),
        ]

    @operation("Pull an image from a registry", body=PullWish, answer=dict[str, Any], lines=True)
    async def pull(self, request: web.Request) -> web.StreamResponse:
        """Tells progress, one object a line; the last one of each image has its ``id``."""
        wish = await body.read(request, PullWish)

        async def work(tell: Tell) -> None:
            await self._pull.pull(wish, tell)

        return await told(request, work)
