"""``/v1/guests/{guest}/archive``: copy files into and out of guests."""

from __future__ import annotations

import base64
from typing import Protocol

import msgspec
from aiohttp import web

from wirt.api.http import body
from wirt.api.http.operation import operation
from wirt.api.http.streamed import streamed
from wirt.api.native.images import chunks
from wirt.errors import Invalid
from wirt.host.archive import Archive
from wirt.model.guest import Guest

STAT_HEADER = "Wirt-Stat"
"""Base64 of the JSON of :class:`~wirt.privileged.protocol.TreeStat`."""


class Guests(Protocol):
    """Finds guests."""

    def find(self, text: str) -> Guest:
        """The guest with this name or id. Raises NotFound, Invalid."""
        ...


class ArchiveRoutes:
    """The routes of a guest's files."""

    def __init__(self, *, guests: Guests, archive: Archive) -> None:
        self._guests = guests
        self._archive = archive

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        place = "/v1/guests/{guest}/archive"
        return [
            web.head(place, self.stat),
            web.get(place, self.get, allow_head=False),
            web.put(place, self.put),
        ]

    @operation("lstat of a path, in the header Wirt-Stat", query=("path",), wakes=True)
    async def stat(self, request: web.Request) -> web.StreamResponse:
        """What is at ``path``, in the header."""
        guest, path = self._meant(request)
        return web.Response(headers=await self._stat_header(guest, path))

    @operation(
        "Read a path as a tar stream", query=("path",), answer="application/x-tar", wakes=True
    )
    async def get(self, request: web.Request) -> web.StreamResponse:
        """``path`` as a tar stream. An error after the first bytes breaks the connection off, so
        that nobody takes a part for the whole."""
        guest, path = self._meant(request)
        headers = await self._stat_header(guest, path)
        headers = {**headers, "Content-Type": "application/x-tar"}
        return await streamed(request, self._archive.get(guest, path), headers)

    @operation(
        "Unpack a tar stream into a directory",
        query=("path", "no_overwrite_dir_non_dir", "copy_uid_gid"),
        body="application/x-tar",
        wakes=True,
    )
    async def put(self, request: web.Request) -> web.StreamResponse:
        """Unpack the body into the directory ``path``."""
        guest, path = self._meant(request)
        await self._archive.put(
            guest,
            path,
            chunks(request),
            no_overwrite_dir_non_dir=body.flag(request, "no_overwrite_dir_non_dir"),
            copy_uid_gid=body.flag(request, "copy_uid_gid"),
        )
        return web.Response(status=204)

    def _meant(self, request: web.Request) -> tuple[Guest, str]:
        path = request.query.get("path", "")
        if not path or "\0" in path:
            raise Invalid("no path inside the guest was given", hint="add ?path=/some/place")
        return self._guests.find(request.match_info["guest"]), path

    async def _stat_header(self, guest: Guest, path: str) -> dict[str, str]:
        found = await self._archive.stat(guest, path)
        return {STAT_HEADER: base64.b64encode(msgspec.json.encode(found)).decode()}
