"""Networks: made, listed, removed, and a guest's places on them.

The database says which networks should exist; the helper makes the kernel follow
(:class:`~wirt.privileged.protocol.SetNetworks`), after every change and at every start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Network
from typing import Protocol

from wirt.aio import Locks
from wirt.errors import Conflict, Invalid, NotFound, WirtError
from wirt.host.events import Bus
from wirt.host.naming import Naming
from wirt.layout import Layout
from wirt.model.guest import Guest, GuestSpec
from wirt.model.names import short
from wirt.model.network import DEFAULT_NETWORK, Attachment, Endpoint, Network
from wirt.network import address as choice
from wirt.network import hosts
from wirt.network.names import names_for
from wirt.network.ports import check_ports
from wirt.network.wish import (
    NetworkWish,
    check_attachment,
    check_mode,
    check_wish,
    make_network,
)
from wirt.privileged.client import Helper
from wirt.privileged.protocol import BridgePlan, HostRoutes, SetNetworks
from wirt.state.networks import NetworkTable

log = logging.getLogger("wirt.network")


class Guests(Protocol):
    """The guests of this host (:class:`wirt.host.roster.Roster`)."""

    locks: Locks

    def all(self) -> Iterable[Guest]: ...

    def get(self, guest_id: str) -> Guest: ...

    def find(self, text: str) -> Guest: ...

    async def save(self, guest: Guest) -> None: ...


class Networks:
    """All networks of this host. ``pool``: CIDR ranges that subnets are cut from."""

    def __init__(
        self,
        *,
        layout: Layout,
        table: NetworkTable,
        helper: Helper,
        guests: Guests,
        naming: Naming,
        bus: Bus,
        pool: Sequence[str] = choice.POOL,
    ) -> None:
        self._layout = layout
        self._table = table
        self._helper = helper
        self._guests = guests
        self._naming = naming
        self._bus = bus
        self._pool = pool
        self._known: dict[str, Network] = {}
        self._changing = asyncio.Lock()

    async def open(self) -> None:
        """Make the kernel follow the database: bridges, table, ports of running guests, names.

        Makes the default network at the first start. Call it when the guests are known and
        before any is started. Raises what the helper tells.
        """
        known = await self._table.all()
        if not any(network.name == DEFAULT_NETWORK for network in known):
            wish = NetworkWish(name=DEFAULT_NETWORK)
            known.append(await self._add(wish, prefix=choice.DEFAULT_PREFIX))
        self._known = {network.id: network for network in known}
        held = {(g.id, place.network_id) for g in self._guests.all() for place in g.endpoints}
        if lost := await self._table.reconcile(held):
            log.info("%d addresses of guests that never came to be are free again", lost)
        await self._apply()
        await self._warn_of_overlaps()

    async def close(self) -> None:
        """Stop answering for names. Networks and guests stay."""
        await self._naming.follow(())

    # --- the verbs

    def all(self) -> tuple[Network, ...]:
        """Every network, oldest first."""
        return tuple(self._known.values())

    def find(self, text: str) -> Network:
        """The network with this name, id, or unambiguous beginning of an id. Raises NotFound,
        Invalid."""
        for network in self._known.values():
            if text in {network.name, network.id}:
                return network
        matches = [n for n in self._known.values() if text and n.id.startswith(text)]
        if len(matches) > 1:
            raise Invalid(
                f"{text[:64]!r} is the beginning of {len(matches)} networks' ids",
                hint="give more digits",
                code="network.ambiguous",
            )
        if not matches:
            raise NotFound(
                f"no such network: {text[:128]}",
                hint="'wirt network ls' lists all networks",
                code="network.not-found",
            )
        return matches[0]

    def guests_on(self, network: Network) -> list[tuple[Guest, Endpoint]]:
        """Who has a place there, running or not."""
        return [
            (guest, place)
            for guest in self._guests.all()
            for place in guest.endpoints
            if place.network_id == network.id
        ]

    async def create(self, wish: NetworkWish) -> Network:
        """Make a network. Raises Invalid, Unsupported, Conflict (the name), Exhausted."""
        check_wish(wish)
        async with self._changing:
            network = await self._add(wish, prefix=choice.SUBNET_PREFIX)
            self._known[network.id] = network
            try:
                await self._apply()
            except BaseException:
                await self._table.remove(network.id)
                del self._known[network.id]
                raise
        self._tell("create", network)
        return network

    async def remove(self, network: Network) -> None:
        """Remove a network. Raises Conflict for the default one and for one that guests are on."""
        if network.name == DEFAULT_NETWORK:
            raise Conflict(
                f"network {network.name!r} is predefined and cannot be removed",
                code="network.predefined",
            )
        async with self._changing:
            users = await self._table.remove(network.id)
            if users:
                raise self._in_use(network, users)
            self._known.pop(network.id, None)
            await self._apply()
        self._tell("destroy", network)

    async def prune(self) -> list[str]:
        """Remove every network that no guest is on; their names."""
        removed = []
        for network in self.all():
            if network.name == DEFAULT_NETWORK:
                continue
            try:
                await self.remove(network)
            except Conflict:
                continue
            removed.append(network.name)
        return removed

    # --- for the life of guests

    async def endpoints_for(
        self, guest_id: str, name: str, spec: GuestSpec
    ) -> tuple[Endpoint, ...]:
        """Check everything the spec says about networks, and claim the guest's addresses.

        Called at creation. All or nothing: when it raises (NotFound, Invalid, Unsupported,
        Exhausted) no address is held. Guests without a network of their own get none.
        """
        wanted = self._check(spec)
        places: list[Endpoint] = []
        try:
            for network, wish in wanted:
                names = names_for(
                    guest_id=guest_id, name=name, hostname=spec.hostname, aliases=wish.aliases
                )
                interface = f"eth{len(places)}"
                places.append(
                    await self.claim(guest_id, network, wish, names=names, interface=interface)
                )
        except BaseException:
            await self._table.release(guest_id)
            raise
        self._tell_places("connect", guest_id, places)
        return tuple(places)

    async def claim(
        self,
        guest_id: str,
        network: Network,
        wish: Attachment,
        *,
        names: tuple[str, ...],
        interface: str,
    ) -> Endpoint:
        """One place on a network: the wished address or the lowest free one."""
        subnet = IPv4Network(network.subnet)

        def choose(taken: Collection[str]) -> str:
            found = choice.choose_address(subnet, taken, gateway=network.gateway, wish=wish.address)
            return str(found)

        address = await self._table.claim(network.id, guest_id, choose)
        mac = (
            choice.check_mac(wish.mac)
            if wish.mac
            else choice.mac_of(choice.parse_address(address, "address"))
        )
        return Endpoint(
            network_id=network.id,
            network=network.name,
            address=address,
            prefix=subnet.prefixlen,
            gateway="" if network.internal else network.gateway,
            mac=mac,
            interface=interface,
            names=names,
        )

    async def release(self, guest: Guest, *, volumes: bool = False) -> None:
        """Free all addresses of a guest that is removed. Idempotent."""
        del volumes  # a holder of other things is asked the same
        if await self._table.release(guest.id):
            self._tell_places("disconnect", guest.id, guest.endpoints)

    async def release_one(self, guest_id: str, network_id: str) -> None:
        """Free a guest's address on one network. Idempotent."""
        await self._table.release(guest_id, network_id)

    async def bridges(self, guest: Guest) -> dict[str, str]:
        """Interface names of the guest's networks' bridges, by network id."""
        return {n.id: n.bridge for n in self._networks_of(guest)}

    async def mtus(self, guest: Guest) -> dict[str, int]:
        """Bytes a packet may have, by network id."""
        return {n.id: n.mtu for n in self._networks_of(guest)}

    async def files(self, guest: Guest, *, hostname: str) -> dict[str, str]:
        """``hosts``, ``hostname`` and ``resolv.conf`` for the guest as it is now.

        A guest that shares another's network is given that one's. Raises Invalid for extra hosts
        and resolvers that mean nothing.
        """
        spec = guest.spec
        mode, _, owner = spec.network_mode.partition(":")
        own = self._guests.find(owner) if mode == "guest" else guest
        resolvers = self._naming.resolvers()
        text = {"hostname": f"{hostname}\n"}
        if own.spec.network_mode == "host":
            servers = spec.dns or resolvers.servers
            text["hosts"] = hosts.host_hosts(self._naming.host_hosts(), extra=spec.extra_hosts)
            text["resolv.conf"] = hosts.resolv_conf(servers, resolvers.search)
            return text
        networks = self._networks_of(own)
        gateway = next((n.gateway for n in sorted(networks, key=lambda n: n.internal)), "")
        text["hosts"] = hosts.hosts_file(
            hostname=hostname, endpoints=own.endpoints, extra=spec.extra_hosts, gateway=gateway
        )
        if networks:
            servers = self._naming.servers_for(networks[0])
        else:
            servers = spec.dns or resolvers.servers
        text["resolv.conf"] = hosts.resolv_conf(servers, resolvers.search, ndots=bool(networks))
        return text

    # --- within

    async def _add(self, wish: NetworkWish, *, prefix: int) -> Network:
        routes, _ = await self._helper.call(HostRoutes())
        return await self._table.add(
            lambda others: make_network(
                wish,
                others,
                layout=self._layout,
                routes=routes.networks,
                free=lambda taken: choice.choose_subnet(taken, prefix=prefix, pool=self._pool),
            )
        )

    async def _warn_of_overlaps(self) -> None:
        """The host may have been given a route that was not there when a subnet was chosen."""
        routes, _ = await self._helper.call(HostRoutes())
        for network in self._known.values():
            try:
                choice.check_overlap(IPv4Network(network.subnet), (), routes.networks)
            except Invalid as error:
                log.warning("network %s: %s", network.name, error)

    async def _apply(self) -> None:
        plans = tuple(
            BridgePlan(
                bridge=n.bridge,
                address=f"{n.gateway}/{IPv4Network(n.subnet).prefixlen}",
                internal=n.internal,
                mtu=n.mtu,
            )
            for n in self._known.values()
        )
        await self._helper.call(SetNetworks(bridges=plans))
        await self._naming.follow(self.all())

    def _check(self, spec: GuestSpec) -> list[tuple[Network, Attachment]]:
        hosts.check_dns(spec.dns)
        check_ports(spec.ports)
        any_gateway = "" if spec.network_mode == "none" else "192.0.2.1"
        hosts.parse_extra(spec.extra_hosts, gateway=any_gateway)
        if spec.network_mode:
            check_mode(spec)
            return []
        attachments = spec.attachments or (Attachment(network=DEFAULT_NETWORK),)
        wanted = [(self.find(a.network), check_attachment(a)) for a in attachments]
        if len({network.id for network, _ in wanted}) != len(wanted):
            raise Invalid("a guest can be on a network only once")
        if spec.ports and all(network.internal for network, _ in wanted):
            raise Invalid(
                "ports cannot be published: the guest is on internal networks only",
                hint="connect it to another network too, or leave the ports out",
                code="network.internal",
            )
        return wanted

    def _networks_of(self, guest: Guest) -> list[Network]:
        known = [self._known.get(place.network_id) for place in guest.endpoints]
        if None in known:
            raise NotFound(
                f"a network of guest {guest.name!r} does not exist any more",
                code="network.not-found",
            )
        return [network for network in known if network is not None]

    def _in_use(self, network: Network, users: list[str]) -> Conflict:
        names = []
        for guest_id in users:
            try:
                names.append(self._guests.get(guest_id).name)
            except WirtError:
                names.append(short(guest_id))  # it is just being created
        return Conflict(
            f"network {network.name!r} is used by {', '.join(sorted(names))}",
            hint=f"remove them, or 'wirt network disconnect {network.name} GUEST'",
            code="network.in-use",
        )

    def _tell_places(self, action: str, guest_id: str, places: Sequence[Endpoint]) -> None:
        for place in places:
            facts = {"name": place.network, "type": "bridge", "guest": guest_id}
            self._bus.publish("network", action, place.network_id, **facts)

    def _tell(self, action: str, network: Network) -> None:
        self._bus.publish("network", action, network.id, name=network.name, type="bridge")
