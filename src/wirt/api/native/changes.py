"""``/v1/guests/{guest}/changes``, ``commit``, ``export``, and what differs between images."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from wirt.api.http import body
from wirt.api.http.operation import operation
from wirt.api.http.streamed import streamed
from wirt.api.http.told import Tell, told
from wirt.api.native.archive import Guests
from wirt.errors import Invalid
from wirt.host.changes import Change, Changes
from wirt.host.commit import Commit, CommitWish

_LATEST = 99_999_999_999
_LINES = {"Content-Type": "application/x-ndjson"}


class ChangeRoutes:
    """The routes of what was changed."""

    def __init__(self, *, guests: Guests, changes: Changes, commit: Commit) -> None:
        self._guests = guests
        self._changes = changes
        self._commit = commit

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/v1/guests/{guest}/changes", self.of_guest),
            web.get("/v1/guests/{guest}/export", self.export),
            web.post("/v1/guests/{guest}/commit", self.commit),
            web.get("/v1/images/{name:.+}/changes", self.of_images),
        ]

    @operation("What a guest changed", answer=Change, lines=True, wakes=True)
    async def of_guest(self, request: web.Request) -> web.StreamResponse:
        """One change a line, by path."""
        guest = self._guests.find(request.match_info["guest"])
        return await streamed(request, self._changes.of_guest(guest), _LINES)

    @operation("What an image has other than another", query=("since",), answer=Change, lines=True)
    async def of_images(self, request: web.Request) -> web.StreamResponse:
        """``since`` is the image to compare with."""
        since = request.query.get("since", "")
        if not since:
            raise Invalid("no image to compare with was given", hint="add ?since=IMAGE")
        stream = self._changes.of_images(since, request.match_info["name"])
        return await streamed(request, stream, _LINES)

    @operation("The root file system of a guest", answer="application/x-tar", wakes=True)
    async def export(self, request: web.Request) -> web.StreamResponse:
        """A tar stream, without volumes and other mounts."""
        guest = self._guests.find(request.match_info["guest"])
        headers = {"Content-Type": "application/x-tar"}
        return await streamed(request, self._changes.export(guest), headers)

    @operation(
        "Make an image of a guest",
        query=("reference", "author", "message", "change", "pause", "timestamp"),
        answer=dict[str, Any],
        lines=True,
        wakes=True,
    )
    async def commit(self, request: web.Request) -> web.StreamResponse:
        """The last line is the image's id; ``pause=0`` lets it run meanwhile. ``timestamp``: Unix
        seconds that the image shall have, and no file in its layer exceed."""
        guest = self._guests.find(request.match_info["guest"])
        epoch = body.number(request, "timestamp", -1, low=0, high=_LATEST)
        wish = CommitWish(
            reference=request.query.get("reference", ""),
            author=request.query.get("author", ""),
            message=request.query.get("message", ""),
            changes=tuple(request.query.getall("change", [])),
            pause=body.flag(request, "pause", default=True),
            epoch=None if epoch < 0 else epoch,
        )

        async def work(tell: Tell) -> None:
            image = await self._commit.run(guest, wish, tell)
            await tell({"id": image.id})

        return await told(request, work)
