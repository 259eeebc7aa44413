"""Blobs: reading (end-2) and deleting (end-10)."""

from __future__ import annotations

from aiohttp import web

from wirt.aio import shielded
from wirt.api.registry.sending import send_file
from wirt.api.registry.visit import Visit
from wirt.host.registry.blobs import Blobs
from wirt.model.image import Digest
from wirt.model.registry import Right

OCTETS = "application/octet-stream"
A_YEAR = "max-age=31536000"


class BlobAnswers:
    """What is answered below ``/v2/NAME/blobs/DIGEST``."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def get(self, visit: Visit) -> web.StreamResponse:
        """The blob, or a range of it; HEAD the same without the bytes."""
        visit.need(Right.PULL)
        digest = visit.digest()
        if visit.request.headers.get("If-None-Match") == f'"{digest}"':
            await self._blobs.size(visit.name, digest)
            return web.Response(status=304, headers={"ETag": f'"{digest}"'})
        if visit.request.method == "HEAD":
            await self._blobs.size(visit.name, digest)
        file, size = await self._blobs.open(visit.name, digest)
        return await send_file(visit.request, file, size, {**visit.common, **describe(digest)})

    async def delete(self, visit: Visit) -> web.StreamResponse:
        """Let the blob go."""
        visit.need(Right.DELETE)
        digest = visit.digest()
        await shielded(self._blobs.remove(visit.name, digest))
        return web.Response(status=202, headers={"Docker-Content-Digest": str(digest)})


def describe(digest: Digest) -> dict[str, str]:
    """The headers of a blob; its content can never change."""
    return {
        "Content-Type": OCTETS,
        "Docker-Content-Digest": str(digest),
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": A_YEAR,
    }
