"""The use cases of networks over a real database; the helper is a recorder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from wirt.aio import Locks, Nursery
from wirt.errors import Conflict, Exhausted, Invalid, NotFound, Unavailable, Unsupported
from wirt.host.events import Bus
from wirt.host.naming import Naming
from wirt.host.networks import Networks
from wirt.host.plug import Plug
from wirt.layout import Layout
from wirt.model.event import Event
from wirt.model.guest import Guest, GuestSpec, GuestState, GuestStatus, Isolation
from wirt.model.names import new_id
from wirt.model.network import DEFAULT_NETWORK, Attachment, PortMap
from wirt.network.forward import Forwarder
from wirt.network.wish import MTU_OPTION, NetworkWish
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
        return next(g for g in self.known.values() if text in {g.name, g.id})

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


def test_the_default_network_is_made_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            (first,) = h.networks.all()
            assert (first.name, first.bridge, first.subnet) == (
                DEFAULT_NETWORK, "wt0", "10.210.0.0/22",
            )  # fmt: skip
            assert h.helper.last(p.SetNetworks).bridges == (
                p.BridgePlan(bridge="wt0", address="10.210.0.1/22"),
            )
            with pytest.raises(Conflict, match="predefined"):
                await h.networks.remove(first)
        async with host(tmp_path) as h:
            assert h.networks.all() == (first,)

    asyncio.run(story())


def test_networks_are_made_listed_found_and_removed(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            web = await h.networks.create(
                NetworkWish(name="web", labels={"a": "b"}, options={MTU_OPTION: "1400"})
            )
            back = await h.networks.create(
                NetworkWish(
                    name="back", subnet="10.9.0.0/24", gateway="10.9.0.9", internal=True, mtu=9000
                )
            )
            assert (web.bridge, web.subnet, web.mtu) == ("wt-1", "10.210.4.0/24", 1400)
            assert (back.bridge, back.gateway, back.mtu) == ("wt-2", "10.9.0.9", 9000)
            assert h.helper.last(p.SetNetworks).bridges[2] == p.BridgePlan(
                bridge="wt-2", address="10.9.0.9/24", internal=True, mtu=9000
            )
            assert h.networks.find("web") == h.networks.find(web.id) == web
            assert h.networks.find(web.id[:12]) == web
            with pytest.raises(NotFound, match="no such network: nope"):
                h.networks.find("nope")
            with pytest.raises(NotFound):
                h.networks.find("")
            await h.networks.remove(web)
            assert [plan.bridge for plan in h.helper.last(p.SetNetworks).bridges] == ["wt0", "wt-2"]
            again = await h.networks.create(NetworkWish(name="web"))
            assert again.bridge == "wt-1", "the lowest free number"
            assert await h.networks.prune() == ["back", "web"]
            assert await h.events() == [
                ("create", "web"), ("create", "back"), ("destroy", "web"), ("create", "web"),
                ("destroy", "back"), ("destroy", "web"),
            ]  # fmt: skip

    asyncio.run(story())


@pytest.mark.parametrize(
    ("wish", "kind", "words"),
    [
        (NetworkWish(name="a/b"), Invalid, "invalid network name"),
        (NetworkWish(name=""), Invalid, "invalid network name"),
        (NetworkWish(name="host"), Invalid, "reserved"),
        (NetworkWish(name="bridge"), Invalid, "reserved"),
        (NetworkWish(name="x", gateway="10.0.0.1"), Invalid, "needs a subnet"),
        (NetworkWish(name="x", subnet="10.0.0.0/24", gateway="10.0.1.1"), Invalid, "gateway"),
        (NetworkWish(name="x", subnet="10.210.0.0/16"), Invalid, "overlaps that of network"),
        (NetworkWish(name="x", subnet="192.0.2.128/25"), Invalid, "has a route"),
        (NetworkWish(name="x", subnet="fd00::/64"), Invalid, "subnet"),
        (NetworkWish(name="x", mtu=1), Invalid, "MTU"),
        (NetworkWish(name="x", options={MTU_OPTION: "²"}), Invalid, "MTU"),
        (NetworkWish(name="x", options={"parent": "eth0"}), Unsupported, "unknown network option"),
    ],
)
def test_impossible_networks_are_refused_and_leave_nothing(
    tmp_path: Path, wish: NetworkWish, kind: type[Exception], words: str
) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            with pytest.raises(kind, match=words):
                await h.networks.create(wish)
            assert len(h.networks.all()) == len(await h.table.all()) == 1
            assert await h.events() == []

    asyncio.run(story())


def test_a_name_is_taken_once_also_by_two_at_the_same_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            made = await asyncio.gather(
                *(h.networks.create(NetworkWish(name=f"n{i % 4}")) for i in range(8)),
                return_exceptions=True,
            )
            good = [n for n in made if not isinstance(n, BaseException)]
            assert len(good) == 4
            assert all(isinstance(n, Conflict) for n in made if isinstance(n, BaseException))
            assert len({n.subnet for n in good}) == len({n.bridge for n in good}) == 4

    asyncio.run(story())


def test_a_network_that_the_kernel_refuses_is_no_network(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            h.helper.broken = (p.SetNetworks,)
            with pytest.raises(Unavailable):
                await h.networks.create(NetworkWish(name="web"))
            assert [n.name for n in await h.table.all()] == [DEFAULT_NETWORK]
            with pytest.raises(NotFound):
                h.networks.find("web")

    asyncio.run(story())


def test_a_network_in_use_cannot_go(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            web = await h.networks.create(NetworkWish(name="web"))
            one = await h.guest("one", spec(attachments=on("web")))
            two = await h.guest("two", spec(attachments=on("web")))
            with pytest.raises(Conflict, match="used by one, two"):
                await h.networks.remove(web)
            assert await h.networks.prune() == []
            for guest in (one, two):
                await h.networks.release(guest, volumes=True)
                del h.guests.known[guest.id]
            assert await h.networks.prune() == ["web"]

    asyncio.run(story())


def test_places_of_a_guest(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            await h.networks.create(NetworkWish(name="web"))
            await h.networks.create(NetworkWish(name="back", internal=True))
            attachments = (
                Attachment(network="web", aliases=("www",), address="10.210.4.77"),
                Attachment(network="back", mac="02:00:00:00:00:0A"),
            )
            guest = await h.guest("Db", spec(attachments=attachments, hostname="db.example.org"))
            first, second = guest.endpoints
            assert (first.address, first.prefix, first.gateway) == (
                "10.210.4.77", 24, "10.210.4.1",
            )  # fmt: skip
            assert (first.mac, first.interface) == ("02:42:0a:d2:04:4d", "eth0")
            assert first.names == ("db", "db.example.org", "www", guest.id[:12])
            assert (second.address, second.gateway) == ("10.210.5.2", "")
            assert (second.mac, second.interface) == ("02:00:00:00:00:0a", "eth1")
            bridges = await h.networks.bridges(guest)
            assert list(bridges.values()) == ["wt-1", "wt-2"]
            other = await h.guest("other", spec())
            assert other.endpoints[0].address == "10.210.0.2"
            again = await h.networks.endpoints_for(other.id, "other", other.spec)
            assert again == other.endpoints, "asking twice changes nothing"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"attachments": on("nope")}, NotFound, "no such network"),
        ({"attachments": on("bridge", "bridge")}, Invalid, "only once"),
        ({"attachments": on("bridge", address="10.9.9.9")}, Invalid, "no host's address"),
        ({"attachments": on("bridge", address="10.210.0.1")}, Invalid, "the gateway"),
        ({"attachments": on("bridge", aliases=("a b",))}, Invalid, "alias"),
        ({"attachments": on("bridge", mac="01:00:00:00:00:01")}, Invalid, "MAC"),
        ({"attachments": on("inside"), "ports": (PortMap(guest_port=80),)}, Invalid, "internal"),
        ({"ports": (PortMap(guest_port=0),)}, Invalid, "guest port"),
        ({"network_mode": "host", "ports": (PortMap(guest_port=80),)}, Invalid, "mode 'host'"),
        ({"network_mode": "none", "publish_all": True}, Invalid, "mode 'none'"),
        ({"network_mode": "none", "attachments": on("bridge")}, Invalid, "no other network"),
        ({"network_mode": "guest:"}, Invalid, "unknown network mode"),
        ({"network_mode": "overlay"}, Invalid, "unknown network mode"),
        ({"dns": ("resolver",)}, Invalid, "DNS server"),
        ({"extra_hosts": ("x",)}, Invalid, "extra host"),
    ],
)
def test_impossible_places_are_refused_and_hold_no_address(
    tmp_path: Path, given: dict[str, Any], kind: type[Exception], words: str
) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            await h.networks.create(NetworkWish(name="inside", internal=True))
            with pytest.raises(kind, match=words):
                await h.guest("g", spec(**given))
            guest = await h.guest("g", spec())
            assert guest.endpoints[0].address == "10.210.0.2"

    asyncio.run(story())


def test_all_or_nothing_when_the_second_network_is_full(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            small = await h.networks.create(NetworkWish(name="small", subnet="10.9.0.0/30"))
            first = await h.guest("first", spec(attachments=on("small")))
            assert first.endpoints[0].address == "10.9.0.2"
            with pytest.raises(Exhausted, match="no free address"):
                await h.guest("second", spec(attachments=on("bridge", "small")))
            third = await h.guest("third", spec())
            assert third.endpoints[0].address == "10.210.0.2", "the second's was given back"
            await h.networks.release(first)
            assert (await h.guest("next", spec(attachments=on("small")))).endpoints
            assert small.subnet == "10.9.0.0/30"

    asyncio.run(story())


def test_addresses_are_unique_when_many_ask_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            guests = await asyncio.gather(*(h.guest(f"g{n}", spec()) for n in range(50)))
            assert len({g.endpoints[0].address for g in guests}) == 50

    asyncio.run(story())


def test_addresses_of_guests_that_never_came_to_be_are_freed_at_start(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            await h.networks.endpoints_for(new_id(), "lost", spec())
        async with host(tmp_path) as h:
            assert (await h.guest("g", spec())).endpoints[0].address == "10.210.0.2"

    asyncio.run(story())


def test_files(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            guest = await h.guest("g", spec(extra_hosts=("up:host-gateway",)))
            files = await h.networks.files(guest, hostname="me")
            assert files["hostname"] == "me\n"
            assert "10.210.0.2\tme\n" in files["hosts"]
            assert "10.210.0.1\tup\n" in files["hosts"]
            # Nobody answers for names here, so the guest is told to ask the host's resolver.
            assert files["resolv.conf"] == (
                "nameserver 192.0.2.53\nsearch corp.example\noptions ndots:0\n"
            )
            shared = await h.guest("s", spec(network_mode=f"guest:{guest.id}"))
            assert shared.endpoints == ()
            theirs = await h.networks.files(shared, hostname="me")
            assert "10.210.0.2\tme\n" in theirs["hosts"]
            own = await h.guest("h", spec(network_mode="host", dns=("192.0.2.9",)))
            files = await h.networks.files(own, hostname="thehost")
            assert files["hosts"] == "127.0.0.1 localhost thehost\n"
            assert files["resolv.conf"].startswith("nameserver 192.0.2.9\n")
            none = await h.guest("n", spec(network_mode="none"))
            files = await h.networks.files(none, hostname="alone")
            assert "127.0.1.1\talone" in files["hosts"]
            (tmp_path / "etc" / "resolv.conf").unlink()
            assert h.naming.resolvers().servers == ()

    asyncio.run(story())


def test_connect_and_disconnect_a_guest_that_does_not_run(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            web = await h.networks.create(NetworkWish(name="web"))
            guest = await h.guest("g", spec(isolation=Isolation.MICROVM))
            await h.plug.connect(web, guest, aliases=["www"], address="10.210.4.9")
            (_, place) = h.guests.get(guest.id).endpoints
            assert (place.address, place.interface) == ("10.210.4.9", "eth1")
            assert place.names == ("g", "www", guest.id[:12])
            with pytest.raises(Conflict, match="already"):
                await h.plug.connect(web, guest)
            default = h.networks.find(DEFAULT_NETWORK)
            await h.plug.disconnect(default, guest)
            with pytest.raises(Conflict, match="is not on"):
                await h.plug.disconnect(default, guest)
            await h.plug.connect(default, guest)
            (_, place) = h.guests.get(guest.id).endpoints
            assert (place.interface, place.address) == ("eth0", "10.210.0.2")
            kinds = {type(verb) for verb in h.helper.verbs}
            assert kinds == {p.SetNetworks, p.HostRoutes}, "a guest that is down has no cards"
            assert (await h.events())[1:] == [
                ("connect", "web"), ("disconnect", "bridge"), ("connect", "bridge"),
            ]  # fmt: skip

    asyncio.run(story())


def test_connect_and_disconnect_a_running_container(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            web = await h.networks.create(NetworkWish(name="web", mtu=1400))
            ports = (PortMap(guest_port=80, host_port=8080),)
            guest = await h.guest("g", spec(ports=ports), up=True)
            await h.plug.connect(web, guest)
            link = h.helper.last(p.ConnectGuest).link
            assert link == p.LinkPlan(
                bridge="wt-1", address="10.210.4.2/24", mac="02:42:0a:d2:04:02", gateway="",
                interface="eth1", mtu=1400,
            )  # fmt: skip
            assert "10.210.4.2" in h.helper.last(p.UpdateFiles).files["hosts"]
            default = h.networks.find(DEFAULT_NETWORK)
            await h.plug.disconnect(default, guest)
            assert h.helper.last(p.DisconnectGuest).interface == "eth0"
            moved = h.helper.last(p.PublishPorts)
            assert (moved.address, moved.ports) == ("10.210.4.2", ports)
            assert (await h.guest("next", spec())).endpoints[0].address == "10.210.0.2"

    asyncio.run(story())


def test_a_card_that_cannot_be_made_or_taken_changes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            web = await h.networks.create(NetworkWish(name="web"))
            guest = await h.guest("g", spec(), up=True)
            h.helper.broken = (p.ConnectGuest, p.DisconnectGuest)
            with pytest.raises(Unavailable):
                await h.plug.connect(web, guest)
            default = h.networks.find(DEFAULT_NETWORK)
            with pytest.raises(Unavailable):
                await h.plug.disconnect(default, guest)
            assert h.guests.get(guest.id).endpoints == guest.endpoints
            other = await h.guest("other", spec(attachments=on("web")))
            assert other.endpoints[0].address == "10.210.4.2"
            await h.plug.disconnect(default, guest, force=True)
            assert h.guests.get(guest.id).endpoints == ()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("given", "status", "kind"),
    [
        ({"network_mode": "host"}, GuestStatus(), Conflict),
        ({"network_mode": "none"}, RUNNING, Conflict),
        ({"isolation": Isolation.MICROVM}, RUNNING, Unsupported),
        ({"isolation": Isolation.VM}, RUNNING, Unsupported),
        ({}, GuestStatus(state=GuestState.REMOVING), Conflict),
    ],
)
def test_guests_that_cannot_be_connected(
    tmp_path: Path, given: dict[str, Any], status: GuestStatus, kind: type[Exception]
) -> None:
    async def story() -> None:
        async with host(tmp_path) as h:
            web = await h.networks.create(NetworkWish(name="web"))
            guest = replace(await h.guest("g", spec(**given)), status=status)
            h.guests.known[guest.id] = guest
            with pytest.raises(kind):
                await h.plug.connect(web, guest)
            assert await h.networks.prune() == ["web"], "no address is held"

    asyncio.run(story())
