"""``/v1/boosts`` and ``/v1/calendar``: more for a guest, for a while or again and again."""

from __future__ import annotations

import msgspec
from aiohttp import web

from wirt.aio import shielded
from wirt.api.http.body import answer, flag, read
from wirt.api.http.operation import operation
from wirt.host.boosting import Boosting, Plan, Standing
from wirt.model.boost import Gain


class BoostBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``target``: a guest's name or id, or a group's path. ``seconds``: how long."""

    target: str
    seconds: float
    gain: Gain
    group: bool = False


class EntryBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``when``: days and a span in the host's local time, as ``Mon-Fri 07:45-09:30``."""

    when: str
    target: str
    gain: Gain
    group: bool = False


class BoostRoutes:
    """Handlers of two nouns."""

    def __init__(self, boosting: Boosting) -> None:
        self._boosting = boosting

    def routes(self) -> list[web.RouteDef]:
        """What they answer."""
        return [
            web.get("/v1/boosts", self.boosts, allow_head=False),
            web.post("/v1/boosts", self.boost),
            web.delete("/v1/boosts/{target:.+}", self.cancel),
            web.get("/v1/calendar", self.calendar, allow_head=False),
            web.post("/v1/calendar", self.add),
            web.delete("/v1/calendar/{entry}", self.strike),
        ]

    @operation("The boosts in force, those of the calendar too", answer=list[Standing])
    async def boosts(self, request: web.Request) -> web.StreamResponse:
        """What is boosted now."""
        del request
        return answer(self._boosting.standing())

    @operation("Boost a guest or a group for a while", body=BoostBody, answer=Standing, status=201)
    async def boost(self, request: web.Request) -> web.StreamResponse:
        """Boost, instead of an earlier boost of the same target."""
        body = await read(request, BoostBody)
        work = self._boosting.boost(body.target, body.gain, seconds=body.seconds, group=body.group)
        return answer(await shielded(work), status=201)

    @operation("End a boost", query=("group",), status=204)
    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """End a boost."""
        target, group = request.match_info["target"], flag(request, "group")
        await shielded(self._boosting.cancel(target, group=group))
        return web.Response(status=204)

    @operation("The entries of the calendar", answer=list[Plan])
    async def calendar(self, request: web.Request) -> web.StreamResponse:
        """All entries."""
        del request
        return answer(self._boosting.plans())

    @operation("Add an entry to the calendar", body=EntryBody, answer=Plan, status=201)
    async def add(self, request: web.Request) -> web.StreamResponse:
        """Add an entry."""
        body = await read(request, EntryBody)
        work = self._boosting.add(body.when, body.target, body.gain, group=body.group)
        return answer(await shielded(work), status=201)

    @operation("Remove an entry from the calendar", status=204)
    async def strike(self, request: web.Request) -> web.StreamResponse:
        """Remove an entry."""
        await shielded(self._boosting.strike(request.match_info["entry"]))
        return web.Response(status=204)
