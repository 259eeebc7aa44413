"""Networks are made, listed and removed; guests get places on them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from nethost import host, on, spec
from wirt.errors import Conflict, Exhausted, Invalid, NotFound, Unavailable, Unsupported
from wirt.model.names import new_id
from wirt.model.network import DEFAULT_NETWORK, Attachment, PortMap
from wirt.network.wish import MTU_OPTION, NetworkWish
from wirt.privileged import protocol as p


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
        (NetworkWish(name="x", mtu=0), Invalid, "MTU"),
        (NetworkWish(name="x", mtu=-5, options={MTU_OPTION: "1400"}), Invalid, "MTU"),
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
            for guest in (one, two, one):
                await h.networks.release(guest, volumes=True)
                h.guests.known.pop(guest.id, None)
            actions = [action for action, _ in await h.events()]
            assert actions == ["create", "connect", "connect", "disconnect", "disconnect"]
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
        ({"extra_hosts": ("x",), "network_mode": "host"}, Invalid, "extra host"),
        ({"extra_hosts": ("x:host-gateway",), "network_mode": "none"}, Invalid, "no gateway"),
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
