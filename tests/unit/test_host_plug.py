"""Guests are connected and disconnected, running or not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nethost import RUNNING, host, on, spec
from wirt.errors import Conflict, Unavailable, Unsupported
from wirt.model.guest import GuestState, GuestStatus, Isolation
from wirt.model.network import DEFAULT_NETWORK, PortMap
from wirt.network.wish import NetworkWish
from wirt.privileged import protocol as p


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
            assert (await h.events())[2:] == [
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
            gone = h.helper.last(p.DisconnectGuest)
            assert (gone.interface, gone.gateway) == ("eth0", "10.210.4.1"), "another way out"
            moved = h.helper.last(p.PublishPorts)
            assert (moved.address, moved.ports) == ("10.210.4.2", ports)
            assert (await h.guest("next", spec())).endpoints[0].address == "10.210.0.2"
            await h.plug.disconnect(web, guest)
            assert h.helper.last(p.PublishPorts).ports == (), "no way out"
            await h.plug.connect(web, guest)
            again = h.helper.last(p.PublishPorts)
            assert (again.address, again.ports) == ("10.210.4.2", ports)
            assert h.helper.last(p.ConnectGuest).link.gateway == "10.210.4.1"

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
