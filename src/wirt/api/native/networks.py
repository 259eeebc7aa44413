"""``/v1/networks``: make, list, look at, connect and remove networks."""

from __future__ import annotations

import msgspec
from aiohttp import web

from wirt.aio import shielded
from wirt.api.http.body import answer, flag, read
from wirt.api.http.operation import operation
from wirt.errors import Invalid
from wirt.host.networks import Guests, Networks
from wirt.host.plug import Plug
from wirt.model.guest import GuestState
from wirt.model.network import Network
from wirt.network.wish import NetworkWish

DEADLINE = 60.0
"""Seconds a change may go on after its client went away."""


class NetworkBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a creation."""

    name: str
    subnet: str = ""
    gateway: str = ""
    internal: bool = False
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    mtu: int | None = None


class ConnectBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which guest, by name or id, and how it is to be known there."""

    guest: str
    aliases: tuple[str, ...] = ()
    address: str = ""


class DisconnectBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which guest. ``force``: even when its card cannot be taken away."""

    guest: str
    force: bool = False


class CreatedNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a creation."""

    id: str


class PrunedNetworks(msgspec.Struct, frozen=True, kw_only=True):
    """Names of the networks that were removed."""

    removed: tuple[str, ...]


class NetworkPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A guest on a network. ``running``: whether its names resolve now."""

    guest: str
    name: str
    address: str
    prefix: int
    mac: str
    interface: str
    names: tuple[str, ...]
    running: bool


class NetworkView(msgspec.Struct, frozen=True, kw_only=True):
    """A network with the guests that have a place there."""

    id: str
    name: str
    bridge: str
    subnet: str
    gateway: str
    internal: bool
    mtu: int
    labels: dict[str, str]
    options: dict[str, str]
    created_at: int
    endpoints: tuple[NetworkPlace, ...]


class NetworkRoutes:
    """Handlers of one noun."""

    def __init__(self, *, networks: Networks, plug: Plug, guests: Guests) -> None:
        self._networks = networks
        self._plug = plug
        self._guests = guests

    def routes(self) -> list[web.RouteDef]:
        """What this noun answers."""
        return [
            web.get("/v1/networks", self.list, allow_head=False),
            web.post("/v1/networks", self.create),
            web.post("/v1/networks/prune", self.prune),
            web.get("/v1/networks/{network}", self.inspect, allow_head=False),
            web.delete("/v1/networks/{network}", self.remove),
            web.post("/v1/networks/{network}/connect", self.connect),
            web.post("/v1/networks/{network}/disconnect", self.disconnect),
        ]

    @operation("List networks", answer=list[NetworkView])
    async def list(self, request: web.Request) -> web.StreamResponse:
        """Every network, oldest first."""
        del request
        return answer([self._view(network) for network in self._networks.all()])

    @operation("Make a network", body=NetworkBody, answer=CreatedNetwork, status=201)
    async def create(self, request: web.Request) -> web.StreamResponse:
        """Make a network."""
        body = await read(request, NetworkBody)
        wish = NetworkWish(
            name=body.name,
            subnet=body.subnet,
            gateway=body.gateway,
            internal=body.internal,
            labels=body.labels,
            options=body.options,
            mtu=body.mtu,
        )
        network = await shielded(self._networks.create(wish), deadline=DEADLINE)
        return answer(CreatedNetwork(id=network.id), status=201)

    @operation("A network with its guests", answer=NetworkView)
    async def inspect(self, request: web.Request) -> web.StreamResponse:
        """One network with its guests."""
        return answer(self._view(self._find(request)))

    @operation("Remove a network that no guest is on", status=204)
    async def remove(self, request: web.Request) -> web.StreamResponse:
        """Remove a network that no guest is on."""
        await shielded(self._networks.remove(self._find(request)), deadline=DEADLINE)
        return web.Response(status=204)

    @operation("Remove all networks that no guest is on", answer=PrunedNetworks)
    async def prune(self, request: web.Request) -> web.StreamResponse:
        """Remove all networks that no guest is on."""
        del request
        removed = await shielded(self._networks.prune(), deadline=DEADLINE)
        return answer(PrunedNetworks(removed=tuple(removed)))

    @operation("Give a guest a place on the network", body=ConnectBody, status=204)
    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Give a guest a place on the network."""
        network = self._find(request)
        body = await read(request, ConnectBody)
        guest = self._guests.find(_named(body.guest))
        work = self._plug.connect(network, guest, aliases=body.aliases, address=body.address)
        await shielded(work, deadline=DEADLINE)
        return web.Response(status=204)

    @operation("Take a guest away", query=("force",), body=DisconnectBody, status=204)
    async def disconnect(self, request: web.Request) -> web.StreamResponse:
        """Take a guest's place on the network away."""
        network = self._find(request)
        body = await read(request, DisconnectBody)
        guest = self._guests.find(_named(body.guest))
        work = self._plug.disconnect(network, guest, force=flag(request, "force", body.force))
        await shielded(work, deadline=DEADLINE)
        return web.Response(status=204)

    def _find(self, request: web.Request) -> Network:
        return self._networks.find(request.match_info["network"])

    def _view(self, network: Network) -> NetworkView:
        places = tuple(
            NetworkPlace(
                guest=guest.id,
                name=guest.name,
                address=place.address,
                prefix=place.prefix,
                mac=place.mac,
                interface=place.interface,
                names=place.names,
                running=guest.status.state in {GuestState.RUNNING, GuestState.PAUSED},
            )
            for guest, place in self._networks.guests_on(network)
        )
        return NetworkView(
            id=network.id,
            name=network.name,
            bridge=network.bridge,
            subnet=network.subnet,
            gateway=network.gateway,
            internal=network.internal,
            mtu=network.mtu,
            labels=network.labels,
            options=network.options,
            created_at=network.created_at,
            endpoints=places,
        )


def _named(text: str) -> str:
    if not text:
        raise Invalid("no guest given", hint='the body has the guest\'s name or id as "guest"')
    return text
