"""Connect a guest to a network, and disconnect it, running or not."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from wirt.errors import Conflict, Unsupported, WirtError
from wirt.host.events import Bus
from wirt.host.networks import Guests, Networks
from wirt.model.guest import Guest, GuestState, Isolation
from wirt.model.names import short
from wirt.model.network import Attachment, Endpoint, Network
from wirt.network.names import names_for
from wirt.network.wish import check_attachment
from wirt.privileged.client import Helper
from wirt.privileged.protocol import (
    ConnectGuest,
    DisconnectGuest,
    LinkPlan,
    PublishPorts,
    UpdateFiles,
)

log = logging.getLogger("wirt.network")

_UP = frozenset({GuestState.RUNNING, GuestState.PAUSED})


class Plug:
    """The ``network connect`` and ``network disconnect`` verbs."""

    def __init__(self, *, networks: Networks, guests: Guests, helper: Helper, bus: Bus) -> None:
        self._networks = networks
        self._guests = guests
        self._helper = helper
        self._bus = bus

    async def connect(
        self, network: Network, guest: Guest, *, aliases: Sequence[str] = (), address: str = ""
    ) -> None:
        """Give a guest a place on one more network.

        Raises Conflict when it is there already or has no network of its own, Unsupported for a
        running machine, Invalid, Exhausted; then nothing has changed.
        """
        wish = check_attachment(
            Attachment(network=network.name, aliases=tuple(aliases), address=address or None)
        )
        async with self._guests.locks.hold(guest.id):
            guest = self._guests.get(guest.id)
            _check_changeable(guest)
            if _place(guest, network) is not None:
                raise Conflict(
                    f"guest {guest.name!r} is on network {network.name!r} already",
                    code="network.connected",
                )
            names = names_for(
                guest_id=guest.id,
                name=guest.name,
                hostname=guest.spec.hostname,
                aliases=wish.aliases,
            )
            place = await self._networks.claim(
                guest.id, network, wish, names=names, interface=_free_interface(guest)
            )
            try:
                guest = await self._plug_in(guest, network, place)
            except BaseException:
                await self._networks.release_one(guest.id, network.id)
                raise
            await self._tell_guest(guest)
        self._tell("connect", network, guest)

    async def disconnect(self, network: Network, guest: Guest, *, force: bool = False) -> None:
        """Take a guest's place on a network away.

        ``force``: even when the running guest's card cannot be taken away. Raises Conflict when
        it is not there, Unsupported for a running machine.
        """
        async with self._guests.locks.hold(guest.id):
            guest = self._guests.get(guest.id)
            place = _place(guest, network)
            if place is None:
                raise Conflict(
                    f"guest {guest.name!r} is not on network {network.name!r}",
                    code="network.not-connected",
                )
            _check_changeable(guest)
            places = tuple(other for other in guest.endpoints if other is not place)
            if guest.status.state in _UP:
                gone = DisconnectGuest(
                    id=guest.id, interface=place.interface, gateway=_way_out(places)
                )
                try:
                    await self._helper.call(gone)
                except WirtError:
                    if not force:
                        raise
                    log.exception("guest %s keeps its card %s", guest.name, place.interface)
            await self._move_ports(guest, places)
            guest = await self._save(guest.id, places)
            await self._networks.release_one(guest.id, network.id)
            await self._tell_guest(guest)
        self._tell("disconnect", network, guest)

    def _tell(self, action: str, network: Network, guest: Guest) -> None:
        facts = {"name": network.name, "type": "bridge", "guest": guest.id}
        self._bus.publish("network", action, network.id, **facts)

    async def _plug_in(self, guest: Guest, network: Network, place: Endpoint) -> Guest:
        """Note the place, then make the card: after a crash in between, the address of a card
        that exists is never given to somebody else."""
        changed = await self._save(guest.id, (*guest.endpoints, place))
        if guest.status.state not in _UP:
            return changed
        link = LinkPlan(
            bridge=network.bridge,
            address=f"{place.address}/{place.prefix}",
            mac=place.mac,
            gateway="" if _way_out(guest.endpoints) else place.gateway,
            interface=place.interface,
            mtu=network.mtu,
        )
        try:
            await self._helper.call(ConnectGuest(id=guest.id, link=link))
        except BaseException:
            with contextlib.suppress(WirtError):  # whoever was cut off may have made half of it
                await self._helper.call(DisconnectGuest(id=guest.id, interface=place.interface))
            await self._save(guest.id, guest.endpoints)
            raise
        await self._move_ports(guest, changed.endpoints)
        return self._guests.get(guest.id)

    async def _save(self, guest_id: str, places: tuple[Endpoint, ...]) -> Guest:
        """Store the places; whatever else has become of the guest meanwhile stays."""
        guest = replace(self._guests.get(guest_id), endpoints=places)
        await self._guests.save(guest)
        return guest

    async def _move_ports(self, guest: Guest, places: tuple[Endpoint, ...]) -> None:
        """Published ports of a running guest lead to its first place with a way out. Without
        one they lead nowhere, but stay reserved for the next."""
        if guest.status.state not in _UP or not guest.ports:
            return
        old, new = _published_at(guest.endpoints), _published_at(places)
        if old != new:
            ports = guest.ports if new else ()
            await self._helper.call(PublishPorts(id=guest.id, address=new, ports=ports))

    async def _tell_guest(self, guest: Guest) -> None:
        """Its hosts and resolv.conf name its addresses. Without them it still runs."""
        if guest.status.state not in _UP:
            return
        try:
            hostname = guest.spec.hostname or short(guest.id)
            files = await self._networks.files(guest, hostname=hostname)
            await self._helper.call(UpdateFiles(id=guest.id, files=files))
        except WirtError as error:
            log.warning("guest %s has old hosts and resolv.conf: %s", guest.name, error)


def _check_changeable(guest: Guest) -> None:
    mode = guest.spec.network_mode
    if mode:
        raise Conflict(
            f"guest {guest.name!r} has the network mode {mode.partition(':')[0]!r} "
            "and cannot be connected",
            hint="create it with --network NAME instead",
            code="network.mode",
        )
    if guest.status.state in {GuestState.REMOVING, GuestState.DEAD}:
        raise Conflict(f"guest {guest.name!r} is being removed", code="guest.removing")
    if guest.status.state in _UP and guest.spec.isolation is not Isolation.CONTAINER:
        raise Unsupported(
            f"the network cards of a running {guest.spec.isolation.value} cannot be changed",
            hint=f"'wirt stop {guest.name}', change them, and start it again",
            code="network.machine",
        )


def _place(guest: Guest, network: Network) -> Endpoint | None:
    return next((e for e in guest.endpoints if e.network_id == network.id), None)


def _published_at(places: tuple[Endpoint, ...]) -> str:
    return next((place.address for place in places if place.gateway), "")


def _way_out(places: tuple[Endpoint, ...]) -> str:
    return next((place.gateway for place in places if place.gateway), "")


def _free_interface(guest: Guest) -> str:
    used = {place.interface for place in guest.endpoints}
    return next(name for number in count() if (name := f"eth{number}") not in used)
