"""``/v1/groups``: make, list, look at, change and remove groups of guests."""

from __future__ import annotations

import msgspec
from aiohttp import web

from wirt.aio import shielded
from wirt.api.http.body import answer, read
from wirt.api.http.operation import operation
from wirt.host.grouping import Grouping
from wirt.host.ledger import Account, Ledger
from wirt.model.resources import Resources

_PATH = "/v1/groups/{group:.+}"


class GroupBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a creation. ``path``: ``tenant/department``; the groups above must exist."""

    path: str
    resources: Resources = Resources()
    expandable: bool = False


class GroupChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a change; what is null stays, a limit of 0 takes an earlier one away."""

    resources: Resources = Resources()
    expandable: bool | None = None


class GroupRoutes:
    """Handlers of one noun."""

    def __init__(self, *, grouping: Grouping, ledger: Ledger) -> None:
        self._grouping = grouping
        self._ledger = ledger

    def routes(self) -> list[web.RouteDef]:
        """What this noun answers."""
        return [
            web.get("/v1/groups", self.list, allow_head=False),
            web.post("/v1/groups", self.create),
            web.get(_PATH, self.inspect, allow_head=False),
            web.post(_PATH, self.change),
            web.delete(_PATH, self.remove),
        ]

    @operation("The host and its groups, with what was promised", answer=list[Account])
    async def list(self, request: web.Request) -> web.StreamResponse:
        """The host itself, with an empty path, then every group."""
        del request
        return answer(self._ledger.all())

    @operation("Make a group", body=GroupBody, answer=Account, status=201)
    async def create(self, request: web.Request) -> web.StreamResponse:
        """Make a group."""
        body = await read(request, GroupBody)
        work = self._grouping.create(body.path, body.resources, expandable=body.expandable)
        made = await shielded(work)
        return answer(self._ledger.of(made.path), status=201)

    @operation("A group with its guests", answer=Account)
    async def inspect(self, request: web.Request) -> web.StreamResponse:
        """One group with its guests."""
        return answer(self._ledger.of(request.match_info["group"]))

    @operation("Change what a group has", body=GroupChange, answer=Account)
    async def change(self, request: web.Request) -> web.StreamResponse:
        """Change what a group has; all of it or nothing."""
        path = request.match_info["group"]
        body = await read(request, GroupChange)
        await shielded(self._grouping.change(path, body.resources, expandable=body.expandable))
        return answer(self._ledger.of(path))

    @operation("Remove a group that is empty", status=204)
    async def remove(self, request: web.Request) -> web.StreamResponse:
        """Remove a group that is empty."""
        await shielded(self._grouping.remove(request.match_info["group"]))
        return web.Response(status=204)
