"""``/v1/df layers store``, and the clean-up of images and builds."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from wirt.aio import shielded
from wirt.api.http import body
from wirt.api.http.operation import operation
from wirt.api.http.told import Tell, told
from wirt.api.native.images import DEADLINE, filters
from wirt.host.check import CheckStore
from wirt.host.prune import Prune
from wirt.host.usage import DiskUsage, Report
from wirt.state.store import LayerView, StoreTable


class PrunedImages(msgspec.Struct, frozen=True, kw_only=True):
    """``removed``: as of a removal, each with ``untagged`` or ``deleted``. ``freed``: bytes."""

    removed: tuple[dict[str, str], ...]
    freed: int


class Freed(msgspec.Struct, frozen=True, kw_only=True):
    """``freed``: bytes on the disk."""

    freed: int


class StoreRoutes:
    """The routes of the store as a whole."""

    def __init__(
        self, *, usage: DiskUsage, prune: Prune, check: CheckStore, table: StoreTable
    ) -> None:
        self._usage = usage
        self._prune = prune
        self._check = check
        self._table = table

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/v1/df", self.df, allow_head=False),
            web.get("/v1/layers", self.layers, allow_head=False),
            web.post("/v1/store/check", self.check),
            web.post("/v1/store/trim", self.trim),
            web.post("/v1/images/prune", self.prune_images),
            web.post("/v1/build/prune", self.prune_builds),
        ]

    @operation("What takes how much of the disk", answer=Report)
    async def df(self, request: web.Request) -> web.StreamResponse:
        """The sum is what du(1) says of the state directory."""
        return body.answer(await self._usage.report())

    @operation("The layers of all images", answer=list[LayerView])
    async def layers(self, request: web.Request) -> web.StreamResponse:
        """Each with the layer below it and the images that have it."""
        return body.answer(await self._table.layer_views())

    @operation(
        "Check the store, and repair it",
        query=("repair", "deep"),
        answer=dict[str, Any],
        lines=True,
    )
    async def check(self, request: web.Request) -> web.StreamResponse:
        """One ``finding`` a line; the last line is the ``verdict``."""
        repair, deep = body.flag(request, "repair"), body.flag(request, "deep")

        async def work(tell: Tell) -> None:
            verdict = await self._check.run(tell, repair=repair, deep=deep)
            await tell({"verdict": msgspec.to_builtins(verdict)})

        return await told(request, work)

    @operation("Remove images that nothing uses", query=("all", "filter"), answer=PrunedImages)
    async def prune_images(self, request: web.Request) -> web.StreamResponse:
        """Those without a name; with ``all`` every image that no guest was made from."""
        everything = body.flag(request, "all")
        work = self._prune.images(everything=everything, filters=filters(request))
        done = await shielded(work, deadline=DEADLINE)
        removed = tuple(
            {"untagged": r.untagged} if r.untagged else {"deleted": r.deleted} for r in done.removed
        )
        return body.answer(PrunedImages(removed=removed, freed=done.freed))

    @operation("Drop unpacked layers and disks that no guest uses", answer=Freed)
    async def trim(self, request: web.Request) -> web.StreamResponse:
        """They are made again, of blobs, when a guest needs them."""
        return body.answer(Freed(freed=await shielded(self._prune.unpacked(), deadline=DEADLINE)))

    @operation("Forget what builds keep", answer=Freed)
    async def prune_builds(self, request: web.Request) -> web.StreamResponse:
        """Results of steps and cache mounts, but those in use."""
        freed = await shielded(self._prune.builds(), deadline=DEADLINE)
        return body.answer(Freed(freed=freed))
