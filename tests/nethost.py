"""The use cases of networks over a real database; the helper is a recorder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from wirt.aio import Locks, Nursery
from wirt.errors import NotFound, Unavailable
from wirt.host.events import Bus
from wirt.host.naming import Naming
from wirt.host.networks import Networks
from wirt.host.plug import Plug
from wirt.layout import Layout
from wirt.model.event import Event
from wirt.model.guest import Guest, GuestSpec, GuestState, GuestStatus
from wirt.model.names import new_id
from wirt.model.network import Attachment
from wirt.network.forward import Forwarder
from wirt.privileged import protocol as p
from wirt.privileged.client import Helper
from wirt.state.db import Database
from wirt.state.events import EventTable
from wirt.state.networks import NetworkTable

RUNNING = GuestStatus(state=GuestState.RUNNING)


@dataclass
class FakeHelper:
    """Remembers the verbs; ``broken`` are kinds that fail. Names cannot be listened for."""

    verbs: list[p.Verb[Any]] = field(default_factory=list)
    routes: tuple[str, ...] = ("192.0.2.0/24",)
    broken: tuple[type, ...] = ()

    async def call(self, verb: p.Verb[Any], fds: Sequence[int] = ()) -> tuple[Any, list[int]]:
        await asyncio.sleep(0)
        if isinstance(verb, (p.Listen, *self.broken)):
            raise Unavailable("not here")
        self.verbs.append(verb)
        return (p.Routes(networks=self.routes) if isinstance(verb, p.HostRoutes) else p.Done()), []

    def last(self, kind: type[p.Verb[Any]]) -> Any:
        return [verb for verb in self.verbs if isinstance(verb, kind)][-1]


class FakeGuests:
    """Guests without a database."""

    def __init__(self) -> None:
        self.locks = Locks()
        self.known: dict[str, Guest] = {}

    def all(self) -> Iterable[Guest]:
        return list(self.known.values())

    def get(self, guest_id: str) -> Guest:
        try:
            return self.known[guest_id]
        except KeyError:
            raise NotFound(guest_id) from None

    def find(self, text: str) -> Guest:
        for guest in self.known.values():
            if text in {guest.name, guest.id}:
                return guest
        raise NotFound(f"no such guest: {text}")

    async def save(self, guest: Guest) -> None:
        self.known[guest.id] = guest


@dataclass
class Host:
    """Everything a test touches."""

    networks: Networks
    plug: Plug
    helper: FakeHelper
    guests: FakeGuests
    table: NetworkTable
    bus: Bus
    naming: Naming

    async def guest(self, name: str, spec: GuestSpec, *, up: bool = False) -> Guest:
        guest_id = new_id()
        endpoints = await self.networks.endpoints_for(guest_id, name, spec)
        guest = Guest(
            id=guest_id, name=name, spec=spec, image_id="", created_at=0, endpoints=endpoints,
            status=RUNNING if up else GuestStatus(), ports=spec.ports if up else (),
        )  # fmt: skip
        self.guests.known[guest_id] = guest
        return guest

    async def events(self) -> list[tuple[str, str]]:
        found: list[Event] = await self.bus.history(0, 2**62)
        return [(event.action, event.attributes["name"]) for event in found]


@contextlib.asynccontextmanager
async def host(tmp: Path, helper: FakeHelper | None = None) -> AsyncIterator[Host]:
    nursery = Nursery("test")
    db = Database(tmp / "db")
    await db.open()
    bus = Bus(EventTable(db), nursery)
    await bus.open()
    helper = helper or FakeHelper()
    root = cast(Helper, helper)
    guests = FakeGuests()
    (tmp / "etc").mkdir(exist_ok=True)
    (tmp / "etc" / "resolv.conf").write_text("nameserver 192.0.2.53\nsearch corp.example\n")
    (tmp / "etc" / "hosts").write_text("127.0.0.1 localhost thehost\n")
    naming = Naming(
        helper=root, guests=guests.all, nursery=nursery, forwarder=Forwarder(), etc=tmp / "etc"
    )
    table = NetworkTable(db)
    networks = Networks(
        layout=Layout(name="wt", state=tmp, run=tmp), table=table, helper=root, guests=guests,
        naming=naming, bus=bus,
    )  # fmt: skip
    plug = Plug(networks=networks, guests=guests, helper=root, bus=bus)
    await networks.open()
    try:
        yield Host(
            networks=networks, plug=plug, helper=helper, guests=guests, table=table, bus=bus,
            naming=naming,
        )  # fmt: skip
    finally:
        await networks.close()
        await nursery.close()
        await db.close()


def spec(**given: Any) -> GuestSpec:
    return GuestSpec(image="busybox", **given)


def on(*names: str, **given: Any) -> tuple[Attachment, ...]:
    return tuple(Attachment(network=name, **given) for name in names)
