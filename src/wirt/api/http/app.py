"""The HTTP application: routes, limits, problems, and who may not come in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from wirt.api.http.body import answer
from wirt.api.http.operation import openapi, operation_of
from wirt.api.http.problem import problems
from wirt.errors import Forbidden

MAX_PATH = 8190
"""Bytes of a request line; longer ones are answered 400 by the parser."""


class Noun(Protocol):
    """A group of handlers."""

    def routes(self) -> list[web.RouteDef]:
        """What it answers."""
        ...


@web.middleware
async def no_browsers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests that a web page made a browser send (DNS rebinding, CSRF)."""
    if "Origin" in request.headers:
        raise Forbidden(
            "requests from web pages are refused", hint="use the wirt client", code="api.origin"
        )
    return await handler(request)


Wake = Callable[[str], Awaitable[object]]
"""Wakes the guest of this name or id, if it sleeps. Raises NotFound."""


def application(nouns: Iterable[Noun], *, wake: Wake | None = None) -> web.Application:
    """The application that answers these nouns. Bodies of streams are not limited here."""
    app = web.Application(middlewares=[problems, no_browsers], client_max_size=0)
    routes = [route for noun in nouns for route in noun.routes()]
    app.add_routes(routes if wake is None else [_waking(route, wake) for route in routes])

    async def document(request: web.Request) -> web.StreamResponse:
        """The OpenAPI document of this very application."""
        return answer(openapi(routes))

    app.router.add_get("/v1/openapi.json", document)
    return app


def _waking(route: web.RouteDef, wake: Wake) -> web.RouteDef:
    """The same route; what cannot be done to a guest that sleeps is done once it is awake."""
    said = operation_of(route)
    if said is None or not said.wakes:
        return route
    inner: Handler = route.handler

    async def awake(request: web.Request) -> web.StreamResponse:
        await wake(request.match_info["guest"])
        return await inner(request)

    return web.RouteDef(route.method, route.path, awake, route.kwargs)
