"""``/v1/build/cache``: the build cache as an archive, out and in, and out to a registry."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web

from wirt.api.http import body
from wirt.api.http.operation import operation
from wirt.api.http.told import Tell, told
from wirt.host.build.exchange import Exchange
from wirt.host.build.remote_cache import CacheTarget, RemoteCache
from wirt.host.pipe import CHUNK


class CacheWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to export: keys of results and ids of cache mounts, as a build has told them."""

    keys: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """How many results and cache mounts were imported."""

    results: int
    mounts: int


class BuildCacheRoutes:
    """The routes of the build cache."""

    def __init__(self, *, exchange: Exchange, remote: RemoteCache) -> None:
        self._exchange = exchange
        self._remote = remote

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.post("/v1/build/cache", self.take),
            web.post("/v1/build/cache/export", self.export),
            web.post("/v1/build/cache/push", self.push),
        ]

    @operation("Import an archive of the build cache", body="application/x-tar", answer=Taken)
    async def take(self, request: web.Request) -> web.StreamResponse:
        """The body is what an export gave."""
        results, mounts = await self._exchange.take(_chunks(request))
        return body.answer(Taken(results=results, mounts=mounts))

    @operation("Export results of builds and cache mounts", body=CacheWish,
               answer="application/x-tar")  # fmt: skip
    async def export(self, request: web.Request) -> web.StreamResponse:
        """A tar archive; what is no longer there is left out."""
        wish = await body.read(request, CacheWish)
        response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
        await response.prepare(request)
        stream = self._exchange.export(wish.keys, wish.mounts)
        async with contextlib.aclosing(stream):
            async for chunk in stream:
                await response.write(chunk)
        await response.write_eof()
        return response

    @operation("Export results of builds and cache mounts to a registry", body=CacheTarget,
               answer=dict[str, Any], lines=True)  # fmt: skip
    async def push(self, request: web.Request) -> web.StreamResponse:
        """Tells progress, one object a line; the last one has the ``digest`` of the artifact."""
        wish = await body.read(request, CacheTarget)

        async def work(tell: Tell) -> None:
            await tell({"digest": await self._remote.export(wish, tell)})

        return await told(request, work)


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_chunked(CHUNK):
        yield chunk
