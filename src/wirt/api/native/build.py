"""``POST /v1/build``: the head of a build, its context, and what it tells."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web

from wirt.api.http.operation import operation
from wirt.api.http.told import Tell, told
from wirt.errors import Invalid
from wirt.host.build.build import Build
from wirt.host.build.wish import MAX_HEAD, BuildWish
from wirt.host.pipe import CHUNK

MEDIA = "application/vnd.wirt.build"
"""A length (4 bytes, big endian), as many bytes of JSON (a BuildWish), then the context's tar."""


class BuildRoutes:
    """The route of builds."""

    def __init__(self, *, build: Build) -> None:
        self._build = build

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [web.post("/v1/build", self.build)]

    @operation("Build an image from a Dockerfile", body=MEDIA, answer=dict[str, Any], lines=True)
    async def build(self, request: web.Request) -> web.StreamResponse:
        """The answer tells progress, one object a line; the last is the image, or what went wrong.

        Outputs other than images follow as bytes after the line ``{"bytes": true}``. A client
        that goes away ends the build. With ``check`` nothing is built, and the last object has
        the report and the number of warnings in it.
        """
        wish = await _head(request)

        async def work(tell: Tell) -> AsyncIterator[bytes] | None:
            if wish.check:
                checked = await self._build.check(wish, _rest(request))
                await tell({"check": checked.text, "warnings": len(checked.findings)})
                return None
            made = await self._build.run(wish, _rest(request), tell)
            await tell(
                {
                    "image": made.id,
                    "names": list(made.names),
                    "manifest": made.manifest,
                    "keys": list(made.keys),
                    "mounts": list(made.mounts),
                }
            )
            if made.output is not None:
                await tell({"bytes": True})
            return made.output

        return await told(request, work)


async def _head(request: web.Request) -> BuildWish:
    length = int.from_bytes(await _exactly(request, 4), "big")
    if length > MAX_HEAD:
        raise Invalid(f"the head of the build has {length} bytes", code="api.body")
    try:
        return msgspec.json.decode(await _exactly(request, length), type=BuildWish)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"invalid request body: {error}", code="api.body") from error


async def _exactly(request: web.Request, count: int) -> bytes:
    try:
        return await request.content.readexactly(count)
    except EOFError as error:
        raise Invalid("the body ends within its head", code="api.body") from error


async def _rest(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_chunked(CHUNK):
        yield chunk
