"""Networks from the use case down to the packet: real helper, real bridges, real questions."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import dnslib
import pytest
from dnslib import RCODE, DNSRecord

from needs import needs
from netlab import Box, Here, isolated, nft, plug, tcp, uplink
from source import ROOT
from wirt.aio import Locks, Nursery
from wirt.errors import Forbidden, Invalid, NotFound
from wirt.host.events import Bus
from wirt.host.naming import Naming
from wirt.host.networks import Networks
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.model.guest import Guest, GuestSpec, GuestState, GuestStatus
from wirt.model.names import new_id
from wirt.model.network import DEFAULT_NETWORK, Attachment, PortMap
from wirt.network.forward import Forwarder
from wirt.network.wish import NetworkWish
from wirt.privileged import netstate
from wirt.privileged.client import Helper
from wirt.privileged.netstate import Card, NetState
from wirt.privileged.nft import NAMES_PORT
from wirt.privileged.protocol import HostRoutes, LinkPlan, Listen, PublishPorts, Sweep
from wirt.state.db import Database
from wirt.state.events import EventTable
from wirt.state.networks import NetworkTable

pytestmark = needs("root", "netns", "nft", "busybox")

UP = GuestStatus(state=GuestState.RUNNING)


class Guests:
    """Guests whose processes are boxes."""

    def __init__(self) -> None:
        self.locks = Locks()
        self.known: dict[str, Guest] = {}

    def all(self) -> list[Guest]:
        return list(self.known.values())

    def get(self, guest_id: str) -> Guest:
        return self.known[guest_id]

    def find(self, text: str) -> Guest:
        return next(g for g in self.known.values() if g.name == text)

    async def save(self, guest: Guest) -> None:
        self.known[guest.id] = guest


class Host:
    """The daemon's share of an instance whose helper runs beside it."""

    def __init__(self, base: Path, guests: Guests) -> None:
        self.layout = Layout(name="wt", state=base / "s", run=base / "r")
        self.nursery = Nursery("test")
        self.guests = guests
        self.helper = Helper(self.layout.helper_socket, patience=10)
        self.db = Database(base / "db")
        self.bus = Bus(EventTable(self.db), self.nursery)
        naming = Naming(
            helper=self.helper, guests=guests.all, nursery=self.nursery,
            forwarder=Forwarder(timeout=2.0), etc=base,
        )  # fmt: skip
        self.networks = Networks(
            layout=self.layout, table=NetworkTable(self.db), helper=self.helper, guests=guests,
            naming=naming, bus=self.bus,
        )  # fmt: skip

    async def open(self) -> None:
        await self.db.open()
        await self.bus.open()
        await self.networks.open()

    async def close(self) -> None:
        await self.networks.close()
        await self.nursery.close()
        await self.helper.close()
        await self.db.close()

    async def run(self, name: str, *attachments: Attachment) -> tuple[Guest, Box]:
        spec = GuestSpec(image="x", attachments=attachments)
        guest_id = new_id()
        endpoints = await self.networks.endpoints_for(guest_id, name, spec)
        guest = Guest(
            id=guest_id, name=name, spec=spec, image_id="", created_at=0, endpoints=endpoints,
            status=UP,
        )  # fmt: skip
        self.guests.known[guest_id] = guest
        bridges = await self.networks.bridges(guest)
        (place, *_) = endpoints
        box = Box()
        plug(
            box, bridge=bridges[place.network_id], address=f"{place.address}/{place.prefix}",
            gateway=self.networks.find(place.network).gateway, host=f"wtv{guest_id[:8]}",
            alias=self.layout.link_alias(guest_id),
        )  # fmt: skip
        run = self.layout.guest_run(guest_id)
        run.mkdir()
        link = LinkPlan(bridge=bridges[place.network_id], address=f"{place.address}/24", mac="")
        netstate.write(run, NetState(cards=(Card(host=f"wtv{guest_id[:8]}", link=link),)))
        return guest, box


@contextlib.contextmanager
def helper(base: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [
            sys.executable, "-m", "wirt.privileged", "--name", "wt", "--state", base / "s",
            "--run", base / "r", "--user", "0", "--keeper", "/bin/true",
        ],
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        process.wait()
        Cgroups.detect().remove("/wt")


@contextlib.asynccontextmanager
async def host(base: Path, guests: Guests) -> AsyncIterator[Host]:
    made = Host(base, guests)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


async def ask(
    box: Box, server: str, name: str, kind: str = "A", *, stream: bool = False
) -> DNSRecord:
    """One question from inside a box."""
    loop = asyncio.get_running_loop()
    question: bytes = DNSRecord.question(name, kind).pack()
    with box.inside():
        sock = socket.socket(type=socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    with sock:
        sock.setblocking(False)
        async with asyncio.timeout(20):
            await loop.sock_connect(sock, (server, 53))
            framed = len(question).to_bytes(2, "big") + question if stream else question
            await loop.sock_sendall(sock, framed)
            answer = await loop.sock_recv(sock, 65_535)
    return DNSRecord.parse(answer[2:] if stream else answer)


def addresses(record: DNSRecord) -> list[str]:
    assert record.header.rcode == RCODE.NOERROR
    return [str(rr.rdata) for rr in record.rr]


class Resolver(asyncio.DatagramProtocol):
    """The resolver of the world outside."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = DNSRecord.parse(data).reply()
        reply.add_answer(*dnslib.RR.fromZone(f"{reply.q.qname} 60 A 192.0.2.80"))
        self._transport.sendto(reply.pack(), addr)  # type: ignore[attr-defined]


async def resolver(world: Box) -> None:
    with world.inside():
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("192.0.2.2", 53))
    sock.setblocking(False)
    await asyncio.get_running_loop().create_datagram_endpoint(Resolver, sock=sock)


def world(base: Path) -> Box:
    out = Box()
    uplink(out)
    (base / "resolv.conf").write_text("nameserver 192.0.2.2\n")
    return out


@isolated
def test_names_resolve_between_guests_and_outside(tmp_path: Path) -> None:
    out = world(tmp_path)

    async def story() -> None:
        await resolver(out)
        async with host(tmp_path, Guests()) as h:
            web = await h.networks.create(NetworkWish(name="web"))
            inside = await h.networks.create(NetworkWish(name="inside", internal=True))
            db, dbox = await h.run("db", Attachment(network="web", aliases=("pg",)))
            app, abox = await h.run("app", Attachment(network="web"), Attachment(network="inside"))
            vault, vbox = await h.run("vault", Attachment(network="inside"))
            _, lone = await h.run("lone", Attachment(network=DEFAULT_NETWORK))
            address = db.endpoints[0].address
            for stream in (False, True):
                assert addresses(await ask(abox, web.gateway, "db", stream=stream)) == [address]
                assert addresses(await ask(abox, web.gateway, "PG.web", stream=stream)) == [address]
            assert addresses(await ask(abox, web.gateway, "db", "AAAA")) == []
            assert addresses(await ask(abox, web.gateway, "vault")) == [vault.endpoints[0].address]
            own = app.endpoints[1].address
            assert addresses(await ask(vbox, inside.gateway, "app")) == [own]
            assert addresses(await ask(dbox, web.gateway, "elsewhere.example")) == ["192.0.2.80"]
            # What another network or the world outside has is not for everyone.
            refused = await ask(vbox, inside.gateway, "elsewhere.example")
            assert refused.header.rcode == RCODE.NXDOMAIN
            assert (await ask(vbox, inside.gateway, "db")).header.rcode == RCODE.NXDOMAIN
            gateway = h.networks.find(DEFAULT_NETWORK).gateway
            assert addresses(await ask(lone, gateway, "db")) == ["192.0.2.80"], "asked outside"
            # A judge that is not ours.
            judge = await asyncio.create_subprocess_exec(
                "nsenter", "-t", str(abox.pid), "-n", "busybox", "nslookup", "db", web.gateway,
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            words, _ = await judge.communicate()
            assert address in words.decode()
            assert judge.returncode == 0
            # A guest that ended has no name any more.
            h.guests.known[db.id] = replace(db, status=GuestStatus())
            assert addresses(await ask(abox, web.gateway, "db")) == ["192.0.2.80"]
            # No resolver outside: a clear failure, not silence.
            (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.3\n")
            failed = await ask(dbox, web.gateway, "elsewhere.example")
            assert failed.header.rcode == RCODE.SERVFAIL

    with helper(tmp_path):
        asyncio.run(story())


@isolated
def test_the_network_goes_on_over_restarts_of_daemon_and_helper(tmp_path: Path) -> None:
    out = world(tmp_path)
    guests = Guests()

    async def first() -> Guest:
        async with host(tmp_path, guests) as h:
            guest, box = await h.run("db", Attachment(network=DEFAULT_NETWORK))
            boxes.append(box)
            verb = PublishPorts(
                id=guest.id, address=guest.endpoints[0].address,
                ports=(PortMap(guest_port=80, host_port=8080),),
            )  # fmt: skip
            await h.helper.call(verb)
            return guest

    async def second() -> None:
        async with host(tmp_path, guests) as h:
            (network,) = h.networks.all()
            assert addresses(await ask(boxes[0], network.gateway, "db")) == [seen]
            routes, _ = await h.helper.call(HostRoutes())
            assert routes.networks == ("192.0.2.0/24",), "our own are not the host's"
            for port, place in ((53, network.gateway), (NAMES_PORT, "192.0.2.1")):
                with pytest.raises(Forbidden):
                    await h.helper.call(Listen(address=place, port=port, udp=True))
            ports = (PortMap(guest_port=80, host_port=8081),)
            for guest_id, there in (("../../etc", seen), (guest.id, "192.0.2.1")):
                with pytest.raises(Invalid):
                    await h.helper.call(PublishPorts(id=guest_id, address=there, ports=ports))
            with pytest.raises(NotFound, match="does not run"):
                await h.helper.call(PublishPorts(id="0" * 64, address=seen, ports=ports))
            with pytest.raises(Invalid):
                await h.networks.create(NetworkWish(name="x", subnet="192.0.2.0/25"))

    boxes: list[Box] = []
    with helper(tmp_path):
        guest = asyncio.run(first())
        seen = guest.endpoints[0].address
        assert tcp(out, boxes[0], "192.0.2.1", 8080, at=80) == "192.0.2.2"
    nft("flush", "ruleset")
    with helper(tmp_path):
        asyncio.run(second())
        assert tcp(out, boxes[0], "192.0.2.1", 8080, at=80) == "192.0.2.2", "put back"
    assert tcp(out, boxes[0], "192.0.2.1", 8080, at=80) == "192.0.2.2", "without anybody"


@isolated
def test_what_was_removed_is_gone(tmp_path: Path) -> None:
    world(tmp_path)
    here = Here()

    async def story() -> None:
        async with host(tmp_path, Guests()) as h:
            before = nft("list", "ruleset"), links()
            web = await h.networks.create(NetworkWish(name="web"))
            guest, box = await h.run("db", Attachment(network="web"))
            assert tcp(here, box, guest.endpoints[0].address, 80) == web.gateway
            sweep = Sweep(running=(), guests=(), volumes=(), layers=(), images=())
            swept, _ = await h.helper.call(sweep)
            assert any(f"of guest {guest.id[:12]}" in line for line in swept.removed)
            h.guests.known.clear()
            await h.networks.release(guest)
            await h.networks.remove(web)
            assert (nft("list", "ruleset"), links()) == before
            box.end()

    with helper(tmp_path):
        asyncio.run(story())


def links() -> str:
    words = ["ip", "-o", "link", "show", "type", "bridge"]
    bridges = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    words[-1] = "veth"
    cards = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return " ".join(line.split()[1] for line in (bridges + cards).splitlines())
