"""``/v1/images``: list, look at, load, save, import, name and remove images."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web

from wirt.aio import shielded
from wirt.api.http import body
from wirt.api.http.operation import operation
from wirt.api.http.told import Tell, told
from wirt.errors import Invalid
from wirt.host.images import HistoryLine, Images
from wirt.host.import_image import ImportImage, ImportWish
from wirt.host.load import LoadImages
from wirt.host.pipe import CHUNK
from wirt.host.save import SaveImages
from wirt.model.image import Image

DEADLINE = 600.0
"""Seconds a removal may go on after its client went away."""


class ImageRoutes:
    """The routes of images."""

    def __init__(
        self, *, images: Images, load: LoadImages, save: SaveImages, importer: ImportImage
    ) -> None:
        self._images = images
        self._load = load
        self._save = save
        self._importer = importer

    def routes(self) -> list[web.RouteDef]:
        """All routes; a name may hold slashes, so what follows it comes last."""
        return [
            web.get("/v1/images", self.list_images),
            web.get("/v1/images/save", self.save),
            web.get("/v1/images/{name:.+}/json", self.inspect),
            web.get("/v1/images/{name:.+}/history", self.history),
            web.post("/v1/images/load", self.load),
            web.post("/v1/images/import", self.import_image),
            web.post("/v1/images/{name:.+}/tag", self.tag),
            web.delete("/v1/images/{name:.+}", self.remove),
        ]

    @operation("List images", query=("filter",), answer=list[Image])
    async def list_images(self, request: web.Request) -> web.StreamResponse:
        """``filter=KEY=VALUE`` may occur several times."""
        return body.answer(await self._images.all(filters(request)))

    @operation("An image with its layers and configuration", answer=dict[str, Any])
    async def inspect(self, request: web.Request) -> web.StreamResponse:
        """The image with its layers, and its configuration as stored."""
        detail = await self._images.inspect(request.match_info["name"])
        node: dict[str, Any] = msgspec.to_builtins(detail.image)
        node["digests"] = list(detail.image.digests)
        node["layers"] = msgspec.to_builtins(detail.layers)
        node["raw"] = detail.raw
        return body.answer(node)

    @operation("The steps it was made in, newest first", answer=list[HistoryLine])
    async def history(self, request: web.Request) -> web.StreamResponse:
        """Newest step first."""
        return body.answer(await self._images.history(request.match_info["name"]))

    @operation(
        "Load images from an archive", body="application/x-tar", answer=dict[str, Any], lines=True
    )
    async def load(self, request: web.Request) -> web.StreamResponse:
        """The body is the archive; the answer tells progress, one object a line."""

        async def work(tell: Tell) -> None:
            await self._load.load(chunks(request), tell)

        return await told(request, work)

    @operation(
        "Make an image of a root file system",
        query=("reference", "message", "change", "platform"),
        body="application/x-tar",
        answer=dict[str, Any],
        lines=True,
    )
    async def import_image(self, request: web.Request) -> web.StreamResponse:
        """The body is a root file system; the last line is the image's id."""
        wish = ImportWish(
            reference=request.query.get("reference", ""),
            message=request.query.get("message", ""),
            changes=tuple(request.query.getall("change", [])),
            platform=request.query.get("platform", ""),
        )

        async def work(tell: Tell) -> None:
            image = await self._importer.run(chunks(request), wish, tell)
            await tell({"id": image.id})

        return await told(request, work)

    @operation("Write images into an archive", query=("name", "format"), answer="application/x-tar")
    async def save(self, request: web.Request) -> web.StreamResponse:
        """A tar archive of all named images."""
        form = request.query.get("format", "docker")
        chosen = await self._save.choose(request.query.getall("name", []), form)
        response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
        await response.prepare(request)
        async with contextlib.aclosing(self._save.stream(chosen, form)) as stream:
            async for chunk in stream:
                await response.write(chunk)
        await response.write_eof()
        return response

    @operation("Give an image a further name", query=("target",), status=201)
    async def tag(self, request: web.Request) -> web.StreamResponse:
        """``target`` is the further name."""
        target = request.query.get("target", "")
        if not target:
            raise Invalid("no new name was given", hint="add ?target=NAME:TAG")
        await shielded(self._images.tag(request.match_info["name"], target))
        return web.Response(status=201)

    @operation("Untag or delete an image", query=("force",), answer=list[dict[str, str]])
    async def remove(self, request: web.Request) -> web.StreamResponse:
        """What was untagged and deleted."""
        force = body.flag(request, "force")
        done = await shielded(
            self._images.remove(request.match_info["name"], force=force), deadline=DEADLINE
        )
        return body.answer(
            [{"untagged": r.untagged} if r.untagged else {"deleted": r.deleted} for r in done]
        )


def filters(request: web.Request) -> dict[str, list[str]]:
    """The query's ``filter=KEY=VALUE`` by key. Raises Invalid."""
    found: dict[str, list[str]] = {}
    for text in request.query.getall("filter", []):
        key, equals, value = text.partition("=")
        if not equals:
            raise Invalid(f"the filter {text[:100]!r} has no value", hint="write KEY=VALUE")
        found.setdefault(key, []).append(value)
    return found


async def chunks(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes, never more than a little of it in memory."""
    async for chunk in request.content.iter_chunked(CHUNK):
        yield chunk
