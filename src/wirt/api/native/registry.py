"""``/v1/registry``: where the registry listens, and what its repositories hold."""

from __future__ import annotations

import msgspec
from aiohttp import web

from wirt.aio import shielded
from wirt.api.http.body import answer, number, read
from wirt.api.http.operation import operation
from wirt.host.registry.collect import GRACE_SECONDS, Collected, CollectRegistry
from wirt.host.registry.listeners import Listeners, Standing
from wirt.host.registry.manifests import Manifests
from wirt.model.registry import Listener, RepositorySummary, check_name

DEADLINE = 600.0
"""Seconds a change may go on after its client went away."""
LONGEST_GRACE = 10 * 365 * 24 * 3600


class ListenerBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to listen and who may come in; contents of files, since the daemon may not read the
    caller's."""

    host: str = "127.0.0.1"
    port: int = 5000
    certificate: str = ""
    key: str = ""
    htpasswd: str = ""
    policy: str = ""
    anonymous: str = "pull"
    insecure: bool = False


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The address where the registry answers."""

    address: str


class RegistryRoutes:
    """Handlers of one noun."""

    def __init__(
        self, *, listeners: Listeners, manifests: Manifests, collect: CollectRegistry
    ) -> None:
        self._listeners = listeners
        self._manifests = manifests
        self._collect = collect

    def routes(self) -> list[web.RouteDef]:
        """What this noun answers."""
        return [
            web.get("/v1/registry/listeners", self.status, allow_head=False),
            web.post("/v1/registry/listeners", self.serve),
            web.delete("/v1/registry/listeners/{address}", self.stop),
            web.get("/v1/registry/repositories", self.list, allow_head=False),
            web.delete("/v1/registry/repositories/{name:.+}", self.remove),
            web.post("/v1/registry/gc", self.collect),
        ]

    @operation("Where the registry listens", answer=list[Standing])
    async def status(self, request: web.Request) -> web.StreamResponse:
        """Every listener; no secrets."""
        del request
        return answer(await self._listeners.status())

    @operation("Serve the registry on an address", body=ListenerBody, answer=Served, status=201)
    async def serve(self, request: web.Request) -> web.StreamResponse:
        """From now on, also after a restart."""
        body = await read(request, ListenerBody)
        listener = Listener(**msgspec.structs.asdict(body))
        address = await shielded(self._listeners.serve(listener), deadline=DEADLINE)
        return answer(Served(address=address), status=201)

    @operation("Stop serving the registry on an address", status=204)
    async def stop(self, request: web.Request) -> web.StreamResponse:
        """Connections there end."""
        await shielded(self._listeners.stop(request.match_info["address"]), deadline=DEADLINE)
        return web.Response(status=204)

    @operation("The repositories of the registry", answer=list[RepositorySummary])
    async def list(self, request: web.Request) -> web.StreamResponse:
        """Every repository with its tags and sizes."""
        del request
        return answer(await self._manifests.summaries())

    @operation("Remove a repository, or a tag or manifest of it", query=("reference",), status=204)
    async def remove(self, request: web.Request) -> web.StreamResponse:
        """``reference``: a tag or digest; without it the whole repository goes."""
        name = check_name(request.match_info["name"])
        reference = request.query.get("reference", "")
        work = (
            self._manifests.delete(name, reference)
            if reference
            else self._manifests.remove_repository(name)
        )
        await shielded(work, deadline=DEADLINE)
        return web.Response(status=204)

    @operation("Delete what no repository has any more", query=("grace",), answer=Collected)
    async def collect(self, request: web.Request) -> web.StreamResponse:
        """``grace``: seconds that a blob which no manifest names is kept."""
        grace = number(request, "grace", int(GRACE_SECONDS), low=0, high=LONGEST_GRACE)
        found = await shielded(self._collect.collect(float(grace)), deadline=DEADLINE)
        return answer(found)
