"""``/v1/governor``: how it is doing, its policy, what it saw and did."""

from __future__ import annotations

import msgspec
from aiohttp import web

from wirt.aio import shielded
from wirt.api.http.body import answer, flag, number, read
from wirt.api.http.lines import NDJSON, begin
from wirt.api.http.operation import operation
from wirt.governor.journal import Change, Frame
from wirt.host.governing import policy as policies_
from wirt.host.governing.loop import Governor
from wirt.host.governing.policy import Policies, Policy
from wirt.host.governing.status import Status, status
from wirt.host.roster import Roster

LATEST = 2**63 - 1


class GovernorRoutes:
    """Handlers of one noun."""

    def __init__(self, *, governor: Governor, policies: Policies, roster: Roster) -> None:
        self._governor = governor
        self._policies = policies
        self._roster = roster

    def routes(self) -> list[web.RouteDef]:
        """What this noun answers."""
        return [
            web.get("/v1/governor", self.status, allow_head=False),
            web.post("/v1/governor/pause", self.pause),
            web.post("/v1/governor/resume", self.resume),
            web.get("/v1/governor/policy", self.policy, allow_head=False),
            web.put("/v1/governor/policy", self.set_policy),
            web.delete("/v1/governor/policy", self.unset_policy),
            web.get("/v1/governor/frames", self.frames, allow_head=False),
            web.get("/v1/governor/changes/{guest}", self.changes, allow_head=False),
        ]

    @operation("How the governor is doing", answer=Status)
    async def status(self, request: web.Request) -> web.StreamResponse:
        """Its state."""
        del request
        return answer(status(self._governor, self._policies))

    @operation("Give every guest its own limits and only look on", answer=Status)
    async def pause(self, request: web.Request) -> web.StreamResponse:
        """Only look on."""
        await shielded(self._governor.pause())
        return await self.status(request)

    @operation("Govern again", answer=Status)
    async def resume(self, request: web.Request) -> web.StreamResponse:
        """Govern again."""
        self._governor.resume()
        return await self.status(request)

    @operation("The policy in force", answer=Policy)
    async def policy(self, request: web.Request) -> web.StreamResponse:
        """The policy in force."""
        del request
        return answer(self._policies.now)

    @operation("Use another policy from now on, all of it", body=Policy, answer=Policy)
    async def set_policy(self, request: web.Request) -> web.StreamResponse:
        """Use another policy until it is unset, across restarts too."""
        wanted = policies_.read(await read(request, object))
        await shielded(self._governor.adopt(wanted))
        return answer(self._policies.now)

    @operation("Use the policy of the file of settings again", answer=Policy)
    async def unset_policy(self, request: web.Request) -> web.StreamResponse:
        """The policy of the file of settings again."""
        del request
        await shielded(self._governor.adopt(None))
        return answer(self._policies.now)

    @operation(
        "What the governor saw and did, tick by tick",
        query=("since", "follow"),
        answer=Frame,
        lines=True,
    )
    async def frames(self, request: web.Request) -> web.StreamResponse:
        """Frames of the last hour from ``since`` on (Unix nanoseconds); then the next ones."""
        since = number(request, "since", 0, low=0, high=LATEST)
        ring = self._governor.ring
        follow = flag(request, "follow")
        response = await begin(request, NDJSON)
        if follow:
            async for line in ring.follow(since):
                await response.write(line)
        else:
            for line in ring.frames(since):
                await response.write(line)
        await response.write_eof()
        return response

    @operation("What the governor did to a guest of late", query=("since",), answer=list[Change])
    async def changes(self, request: web.Request) -> web.StreamResponse:
        """The last changes of one guest, the oldest first."""
        since = number(request, "since", 0, low=0, high=LATEST)
        guest = self._roster.find(request.match_info["guest"])
        return web.Response(
            body=msgspec.json.encode(self._governor.ring.changes(guest.id, since)),
            content_type="application/json",
        )
