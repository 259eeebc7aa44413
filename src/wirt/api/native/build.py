"""``POST /v1/build``: the head of a build, its context, and what it tells."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web

from wirt.api.http.hijack import hand_over, take_socket
from wirt.api.http.operation import operation
from wirt.api.http.size import terminal_size
from wirt.api.http.told import Tell, told
from wirt.errors import Invalid
from wirt.host.build.build import Build
from wirt.host.build.runner import Steps
from wirt.host.build.wish import MAX_HEAD, BuildWish
from wirt.host.pipe import CHUNK

MEDIA = "application/vnd.wirt.build"
"""A length (4 bytes, big endian), as many bytes of JSON (a BuildWish), then the context's tar."""


class BuildRoutes:
    """The routes of builds, and of failed steps that somebody looks into."""

    def __init__(self, *, build: Build, steps: Steps) -> None:
        self._build = build
        self._steps = steps

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.post("/v1/build", self.build),
            web.post("/v1/build/steps/{step}/shell", self.shell),
            web.post("/v1/build/steps/{step}/resize", self.resize),
            web.delete("/v1/build/steps/{step}", self.drop),
        ]

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
                    "target_keys": list(made.target_keys),
                    "mounts": list(made.mounts),
                }
            )
            if made.output is not None:
                await tell({"bytes": True})
            return made.output

        return await told(request, work)

    @operation(
        "A shell in what a failed step left (hijack)",
        query=("command", "rows", "columns"),
        answer="application/vnd.docker.raw-stream",
        status=101,
    )
    async def shell(self, request: web.Request) -> web.StreamResponse:
        """``command`` is one argument each time; ``/bin/sh`` when there is none. The step is gone
        when the shell has ended."""
        step = request.match_info["step"]
        self._steps.require(step)
        rows, columns = terminal_size(request)
        argv = tuple(request.query.getall("command", ["/bin/sh"]))
        descriptor = take_socket(request, tty=True)
        work = self._steps.shell(step, argv, descriptor, rows=rows, columns=columns)
        return await hand_over(request, work)

    @operation(
        "Tell the terminal of a step's shell its size", query=("rows", "columns"), status=204
    )
    async def resize(self, request: web.Request) -> web.StreamResponse:
        """While the shell runs."""
        rows, columns = terminal_size(request)
        await self._steps.resize(request.match_info["step"], rows=rows, columns=columns)
        return web.Response(status=204)

    @operation("Remove a failed step that was kept", status=204)
    async def drop(self, request: web.Request) -> web.StreamResponse:
        """Nothing happens when there is none."""
        await self._steps.drop(request.match_info["step"])
        return web.Response(status=204)


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
