"""``/v1/guests``: make, list, look at, change and remove guests."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
from aiohttp import web

from wirt.aio import shielded
from wirt.api.http.body import answer, flag, read
from wirt.api.http.operation import operation
from wirt.errors import Invalid
from wirt.host.create import Create
from wirt.host.describe import Summary, summary
from wirt.host.filters import GuestFilter
from wirt.host.inspect import Inspect, Inspection
from wirt.host.remove import Remove
from wirt.host.roster import Roster
from wirt.host.update import Update, Wish
from wirt.model.guest import GuestClass, GuestSpec, RestartPolicy
from wirt.model.idle import IdleWish
from wirt.model.network import PortMap
from wirt.model.resources import Resources

DEADLINE = 600.0
"""Seconds a change may go on after its client went away."""


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a creation."""

    id: str
    name: str
    warnings: tuple[str, ...] = ()


class UpdateBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of an update."""

    resources: Resources = Resources()
    restart: RestartPolicy | None = None
    group: str | None = None
    guest_class: GuestClass | None = None
    oom_rank: int | None = None
    idle: IdleWish = IdleWish()


class Warned(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of an update."""

    warnings: tuple[str, ...] = ()


class GuestRoutes:
    """Handlers of one noun."""

    def __init__(
        self,
        *,
        roster: Roster,
        create: Create,
        remove: Remove,
        update: Update,
        inspect: Inspect,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._roster = roster
        self._create = create
        self._remove = remove
        self._update = update
        self._inspect = inspect
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """What this noun answers."""
        return [
            web.post("/v1/guests", self.create),
            web.get("/v1/guests", self.list, allow_head=False),
            web.get("/v1/guests/{guest}", self.inspect, allow_head=False),
            web.delete("/v1/guests/{guest}", self.remove),
            web.post("/v1/guests/{guest}/update", self.update),
            web.post("/v1/guests/{guest}/rename", self.rename),
            web.get("/v1/guests/{guest}/port", self.port, allow_head=False),
        ]

    @operation("Create a guest", query=("name",), body=GuestSpec, answer=Created, status=201)
    async def create(self, request: web.Request) -> web.StreamResponse:
        spec = await read(request, GuestSpec)
        name = request.query.get("name") or None
        guest = await shielded(self._create.create(spec, name), deadline=DEADLINE)
        created = Created(id=guest.id, name=guest.name, warnings=guest.warnings)
        return answer(created, status=201)

    @operation("List guests", query=("all", "filter"), answer=list[Summary])
    async def list(self, request: web.Request) -> web.StreamResponse:
        wanted = GuestFilter.parse(request.query.getall("filter", []))
        everything = flag(request, "all") or wanted.asks_for_states
        now = self._clock()
        rows = [
            summary(guest, now)
            for guest in self._roster.all()
            if (everything or guest.status.state.value in {"running", "paused", "restarting"})
            and wanted.matches(guest)
        ]
        return answer(rows)

    @operation("Everything about a guest", query=("plan",), answer=Inspection)
    async def inspect(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        return answer(await self._inspect.inspect(guest, plan=flag(request, "plan")))

    @operation("Remove a guest", query=("force", "volumes"), status=204)
    async def remove(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        work = self._remove.remove(
            guest, force=flag(request, "force"), volumes=flag(request, "volumes")
        )
        await shielded(work, deadline=DEADLINE)
        return web.Response(status=204)

    @operation(
        "Change limits, group and restart policy", body=UpdateBody, answer=Warned, wakes=True
    )
    async def update(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        body = await read(request, UpdateBody)
        wish = Wish(
            resources=body.resources,
            restart=body.restart,
            group=body.group,
            guest_class=body.guest_class,
            oom_rank=body.oom_rank,
            idle=body.idle,
        )
        work = self._update.update(guest, wish)
        return answer(Warned(warnings=await shielded(work, deadline=DEADLINE)))

    @operation("Rename a guest", query=("name",), status=204)
    async def rename(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        name = request.query.get("name", "")
        if not name:
            raise Invalid("no new name given", hint="add the query parameter name")
        await shielded(self._update.rename(guest, name))
        return web.Response(status=204)

    @operation("The published ports", answer=tuple[PortMap, ...])
    async def port(self, request: web.Request) -> web.StreamResponse:
        guest = self._roster.find(request.match_info["guest"])
        return answer(summary(guest, self._clock()).ports)
