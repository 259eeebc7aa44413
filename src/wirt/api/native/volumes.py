"""``/v1/volumes``: list, make, look at and remove volumes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from aiohttp import web

from wirt.aio import shielded
from wirt.api.http import body
from wirt.api.http.operation import operation
from wirt.api.native.images import filters
from wirt.errors import Invalid
from wirt.host.volumes import Pruned, Volumes
from wirt.model.volume import Volume

DEADLINE = 600.0
"""Seconds a removal may go on after its client went away."""


class VolumeWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a creation; an empty name asks for one."""

    name: str = ""
    labels: dict[str, str] = {}
    options: dict[str, str] = {}


class VolumeView(msgspec.Struct, frozen=True, kw_only=True):
    """A volume with the ids of the guests that use it."""

    name: str
    driver: str
    labels: dict[str, str]
    options: dict[str, str]
    anonymous: bool
    created_at: int
    guests: tuple[str, ...]


class VolumeRoutes:
    """The routes of volumes."""

    def __init__(self, *, volumes: Volumes) -> None:
        self._volumes = volumes

    def routes(self) -> list[web.RouteDef]:
        """All routes."""
        return [
            web.get("/v1/volumes", self.list_volumes),
            web.post("/v1/volumes", self.create),
            web.post("/v1/volumes/prune", self.prune),
            web.get("/v1/volumes/{name}", self.inspect),
            web.delete("/v1/volumes/{name}", self.remove),
        ]

    @operation("List volumes", query=("filter",), answer=list[VolumeView])
    async def list_volumes(self, request: web.Request) -> web.StreamResponse:
        """``filter``: name (part of it), label, dangling (true or false)."""
        users = await self._volumes.users()
        wanted = filters(request)
        _check(wanted)
        found = [_view(volume, users) for volume in await self._volumes.all()]
        return body.answer([view for view in found if _fits(view, wanted)])

    @operation("Make a volume", body=VolumeWish, answer=VolumeView, status=201)
    async def create(self, request: web.Request) -> web.StreamResponse:
        """A volume of that name that is there already is the answer too."""
        wish = await body.read(request, VolumeWish)
        volume = await self._volumes.create(wish.name, labels=wish.labels, options=wish.options)
        return body.answer(_view(volume, {}), status=201)

    @operation("A volume with its guests", answer=VolumeView)
    async def inspect(self, request: web.Request) -> web.StreamResponse:
        """One volume."""
        volume = await self._volumes.get(request.match_info["name"])
        return body.answer(_view(volume, await self._volumes.users()))

    @operation("Delete a volume with its files", query=("force",), status=204)
    async def remove(self, request: web.Request) -> web.StreamResponse:
        """With ``force`` one that is not there is no error."""
        name = request.match_info["name"]
        await shielded(
            self._volumes.remove(name, force=body.flag(request, "force")), deadline=DEADLINE
        )
        return web.Response(status=204)

    @operation("Delete volumes that no guest uses", query=("all",), answer=Pruned)
    async def prune(self, request: web.Request) -> web.StreamResponse:
        """Unused anonymous volumes; with ``all`` named ones too."""
        everything = body.flag(request, "all")
        work = self._volumes.prune(everything=everything)
        return body.answer(await shielded(work, deadline=DEADLINE))


def _view(volume: Volume, users: dict[str, list[str]]) -> VolumeView:
    return VolumeView(
        name=volume.name,
        driver=volume.driver,
        labels=volume.labels,
        options=volume.options,
        anonymous=volume.anonymous,
        created_at=volume.created_at,
        guests=tuple(users.get(volume.name, ())),
    )


def _fits(view: VolumeView, wanted: dict[str, list[str]]) -> bool:
    return all(_FILTERS[key](view, value) for key, values in wanted.items() for value in values)


def _check(wanted: dict[str, list[str]]) -> None:
    """Refuse filters that mean nothing, whatever volumes there are."""
    for key, values in wanted.items():
        if key not in _FILTERS or (key == "dangling" and not set(values) <= _TRUTH):
            raise Invalid(
                f"unknown filter {key[:40]}={values[0][:40]} for volumes",
                hint="filters are: name, label, dangling=true or false",
            )


def _has_label(view: VolumeView, value: str) -> bool:
    name, equals, text = value.partition("=")
    return name in view.labels and (not equals or view.labels[name] == text)


_TRUTH = {"true", "false", "1", "0"}
_FILTERS: dict[str, Callable[[VolumeView, str], bool]] = {
    "name": lambda view, value: value in view.name,
    "label": _has_label,
    "dangling": lambda view, value: bool(view.guests) != (value in {"true", "1"}),
}
