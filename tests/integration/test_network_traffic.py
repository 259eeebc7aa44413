"""Bridges and the nftables table with real packets between namespaces."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from needs import needs
from netlab import Box, Here, isolated, nft, plug, sysctl, tcp, udp, uplink
from wirt.errors import Conflict, Invalid, Unsupported
from wirt.layout import Layout
from wirt.linux import spawn
from wirt.model.network import PortMap
from wirt.privileged import bridges, links, netstate, publish
from wirt.privileged.netlink import Netlink
from wirt.privileged.netstate import Card, NetState
from wirt.privileged.nft import NAMES_PORT
from wirt.privileged.protocol import BridgePlan, LinkPlan
from wirt.privileged.rulewatch import RuleWatch

pytestmark = needs("root", "netns", "nft")

A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
MAIN = BridgePlan(bridge="wt0", address="10.210.0.1/24")
SECOND = BridgePlan(bridge="wt-1", address="10.210.1.1/24")
INTERNAL = BridgePlan(bridge="wt-2", address="10.210.2.1/24", internal=True)


class World:
    """A host with three networks, guests a and b on the first, c on the second, d on the internal
    one, and the world outside."""

    def __init__(self, tmp: Path) -> None:
        self.layout = Layout(name="wt", state=tmp, run=tmp)
        (tmp / "g").mkdir()
        self.host, self.out = Here(), Box()
        uplink(self.out)
        self.set_networks()
        self.a = self._guest(A, MAIN, "10.210.0.2/24")
        self.b = self._guest(B, MAIN, "10.210.0.3/24")
        self.c = self._guest(C, SECOND, "10.210.1.2/24")
        self.d = self._guest(D, INTERNAL, "10.210.2.2/24")

    def set_networks(self, *plans: BridgePlan | None) -> None:
        wanted = tuple(p for p in plans if p is not None) if plans else (MAIN, SECOND, INTERNAL)
        with publish.locked(self.layout):
            bridges.set_bridges(self.layout, wanted)
            publish.rebuild(self.layout)

    def publish(self, guest: str, box: Box, *ports: PortMap) -> None:
        publish.publish(self.layout, guest, address=box.address, ports=ports)

    def _guest(self, guest_id: str, plan: BridgePlan, address: str) -> Box:
        box = Box()
        gateway = plan.address.partition("/")[0]
        host = f"wtv{guest_id[:3]}"
        # Even the guest on the internal network tries to get out.
        plug(
            box, bridge=plan.bridge, address=address, gateway=gateway, host=host,
            alias=self.layout.link_alias(guest_id),
        )  # fmt: skip
        directory = self.layout.guest_run(guest_id)
        directory.mkdir()
        mac = "02:42:00:00:00:00"
        link = LinkPlan(bridge=plan.bridge, address=address, mac=mac, gateway=gateway)
        netstate.write(directory, NetState(cards=(Card(host=host, link=link),)))
        return box


@isolated
def test_guests_reach_their_own_network_the_host_and_the_outside(tmp_path: Path) -> None:
    w = World(tmp_path)
    assert tcp(w.a, w.b, "10.210.0.3", 80) == "10.210.0.2"
    assert udp(w.a, w.b, "10.210.0.3", 53) == "10.210.0.2"
    assert tcp(w.a, w.host, "10.210.0.1", 80) == "10.210.0.2"
    assert tcp(w.host, w.a, "10.210.0.2", 80) == "10.210.0.1"
    assert tcp(w.a, w.out, "192.0.2.2", 80) == "192.0.2.1", "masqueraded"
    assert udp(w.c, w.out, "192.0.2.2", 53) == "192.0.2.1"


@isolated
def test_networks_do_not_reach_each_other(tmp_path: Path) -> None:
    w = World(tmp_path)
    assert tcp(w.a, w.c, "10.210.1.2", 80, blocked=True) is None
    assert udp(w.c, w.a, "10.210.0.2", 80, blocked=True) is None
    assert tcp(w.c, w.host, "10.210.0.1", 53, blocked=True) is None, "another network's gateway"
    assert udp(w.c, w.host, "10.210.0.1", NAMES_PORT, blocked=True) is None
    assert tcp(w.a, w.d, "10.210.2.2", 80, blocked=True) is None


@isolated
def test_an_internal_network_has_no_way_out_or_in(tmp_path: Path) -> None:
    w = World(tmp_path)
    assert tcp(w.d, w.out, "192.0.2.2", 80, blocked=True) is None
    assert udp(w.d, w.out, "192.0.2.2", 53, blocked=True) is None
    assert tcp(w.d, w.host, "192.0.2.1", 80, blocked=True) is None, "the host by another address"
    assert udp(w.d, w.host, "10.210.2.1", 53, at=NAMES_PORT) == "10.210.2.2", "names"
    w.publish(A, w.a, PortMap(guest_port=80, host_port=8080))
    assert tcp(w.d, w.a, "192.0.2.1", 8080, at=80, blocked=True) is None
    assert tcp(w.d, w.a, "10.210.2.1", 8080, at=80, blocked=True) is None


@isolated
def test_the_outside_reaches_published_ports_only(tmp_path: Path) -> None:
    w = World(tmp_path)
    with w.out.inside(), Netlink() as netlink:
        links.add_route(netlink, destination="10.210.0.0/16", gateway="192.0.2.1")
    assert tcp(w.out, w.a, "10.210.0.2", 80, blocked=True) is None, (
        "a neighbour who knows the subnet"
    )
    assert udp(w.out, w.host, "10.210.0.1", 53, blocked=True) is None, "the names' server"
    assert udp(w.out, w.host, "10.210.0.1", NAMES_PORT, blocked=True) is None
    w.publish(
        A,
        w.a,
        PortMap(guest_port=80, host_port=8080),
        PortMap(guest_port=53, host_port=5353, protocol="udp"),
    )
    assert tcp(w.out, w.a, "192.0.2.1", 8080, at=80) == "192.0.2.2", "the true source"
    assert udp(w.out, w.a, "192.0.2.1", 5353, at=53) == "192.0.2.2"
    assert udp(w.out, w.a, "192.0.2.1", 8080, at=80, blocked=True) is None, "the other protocol"
    assert tcp(w.out, w.a, "192.0.2.1", 80, blocked=True) is None
    publish.unpublish(w.layout, A)
    assert tcp(w.out, w.a, "192.0.2.1", 8080, at=80, blocked=True) is None
    publish.unpublish(w.layout, A)


@isolated
def test_published_ports_work_from_everywhere(tmp_path: Path) -> None:
    w = World(tmp_path)
    ports = (
        PortMap(guest_port=80, host_port=8080),
        PortMap(guest_port=80, host_port=8080, protocol="udp"),
    )
    w.publish(A, w.a, *ports)
    for call in (tcp, udp):
        assert call(w.host, w.a, "127.0.0.1", 8080, at=80) == "10.210.0.1", "loopback"
        assert call(w.host, w.a, "192.0.2.1", 8080, at=80) == "192.0.2.1", "own address"
        assert call(w.host, w.a, "10.210.0.1", 8080, at=80) == "10.210.0.1"
        assert call(w.a, w.a, "192.0.2.1", 8080, at=80) == "10.210.0.1", "itself"
        assert call(w.a, w.a, "10.210.0.1", 8080, at=80) == "10.210.0.1", "itself by the gateway"
        assert call(w.b, w.a, "192.0.2.1", 8080, at=80) == "10.210.0.1", "its neighbour"
        assert call(w.c, w.a, "192.0.2.1", 8080, at=80) == "10.210.1.2", "another network"


@isolated
def test_a_published_port_53_does_not_answer_for_the_networks(tmp_path: Path) -> None:
    w = World(tmp_path)
    w.publish(
        A,
        w.a,
        PortMap(guest_port=53, host_port=53, protocol="udp"),
        PortMap(guest_port=53, host_port=53),
    )
    for call in (tcp, udp):
        assert call(w.out, w.a, "192.0.2.1", 53) == "192.0.2.2"
        assert call(w.b, w.host, "10.210.0.1", 53, at=NAMES_PORT) == "10.210.0.3"
        assert call(w.b, w.a, "192.0.2.1", 53) == "10.210.0.1"


@isolated
def test_a_port_bound_to_one_address_is_only_there(tmp_path: Path) -> None:
    w = World(tmp_path)
    w.publish(
        A,
        w.a,
        PortMap(guest_port=80, host_port=8080, host_ip="127.0.0.1"),
        PortMap(guest_port=81, host_port=8081, host_ip="192.0.2.1"),
    )
    assert tcp(w.host, w.a, "127.0.0.1", 8080, at=80) == "10.210.0.1"
    assert tcp(w.out, w.a, "192.0.2.1", 8080, at=80, blocked=True) is None
    assert tcp(w.b, w.a, "10.210.0.1", 8080, at=80, blocked=True) is None
    assert tcp(w.out, w.a, "192.0.2.1", 8081, at=81) == "192.0.2.2"
    assert tcp(w.host, w.a, "127.0.0.1", 8081, at=81, blocked=True) is None
    w.publish(B, w.b, PortMap(guest_port=80, host_port=8080, host_ip="192.0.2.1"))
    assert tcp(w.out, w.b, "192.0.2.1", 8080, at=80) == "192.0.2.2", "same port, other address"


@isolated
def test_guests_cannot_reach_the_hosts_loopback(tmp_path: Path) -> None:
    w = World(tmp_path)
    assert sysctl("net/ipv4/conf/wt0/route_localnet") == "1"
    assert sysctl("net/ipv4/conf/up0/route_localnet") == "0"
    with w.a.inside(), Netlink() as netlink:
        links.set_link(netlink, name="lo", up=False)
        for name in ("all", "eth0"):
            Path(f"/proc/sys/net/ipv4/conf/{name}/route_localnet").write_text("1")
        subprocess.run(
            "ip route del table local 127.0.0.0/8 dev lo; ip addr flush dev lo;"
            "ip route add 127.0.0.0/8 via 10.210.0.1",
            shell=True, check=True,
        )  # fmt: skip
    assert udp(w.a, w.host, "127.0.0.1", 777, blocked=True) is None
    assert tcp(w.a, w.host, "127.0.0.1", 777, blocked=True) is None


@isolated
def test_ports_come_back_after_a_restart_and_after_a_flush(tmp_path: Path) -> None:
    w = World(tmp_path)
    w.publish(A, w.a, PortMap(guest_port=80, host_port=8080))
    before = nft("list", "table", "inet", "wt")
    w.set_networks()
    assert nft("list", "table", "inet", "wt") == before
    nft("flush", "ruleset")
    w.publish(B, w.b, PortMap(guest_port=80, host_port=8081))
    assert tcp(w.out, w.a, "192.0.2.1", 8080, at=80) == "192.0.2.2"
    assert tcp(w.out, w.b, "192.0.2.1", 8081, at=80) == "192.0.2.2"
    assert tcp(w.a, w.c, "10.210.1.2", 80, blocked=True) is None, "the networks are apart again"


@isolated
def test_a_bridge_deleted_by_somebody_is_made_again_with_its_ports(tmp_path: Path) -> None:
    w = World(tmp_path)
    with Netlink() as netlink:
        links.delete_link(netlink, name="wt0")
        assert [link.master for link in links.links(netlink) if link.name == "wtvaaa"] == [0]
    w.set_networks()
    assert tcp(w.a, w.b, "10.210.0.3", 80) == "10.210.0.2"


@isolated
def test_a_clients_udp_follows_the_port_to_its_next_guest(tmp_path: Path) -> None:
    w = World(tmp_path)
    port = PortMap(guest_port=53, host_port=5353, protocol="udp")
    with w.out.inside():
        client = socket.socket(type=socket.SOCK_DGRAM)
    servers = []
    for box in (w.a, w.b):
        with box.inside():
            server = socket.socket(type=socket.SOCK_DGRAM)
            server.bind(("", 53))
            server.settimeout(10)
            servers.append(server)
    with client, servers[0], servers[1]:
        w.publish(A, w.a, port)
        client.sendto(b"1", ("192.0.2.1", 5353))
        assert servers[0].recv(10) == b"1"
        publish.unpublish(w.layout, A)
        w.publish(B, w.b, port)
        client.sendto(b"2", ("192.0.2.1", 5353))
        assert servers[1].recv(10) == b"2"


@isolated
def test_foreign_tables_are_left_alone(tmp_path: Path) -> None:
    nft("add", "table", "inet", "foreign")
    nft("add", "chain", "inet", "foreign", "c", "{ type filter hook forward priority 5; }")
    nft("add", "rule", "inet", "foreign", "c", "ip daddr 203.0.113.1 drop")
    nft("add", "table", "ip", "wt")
    before = nft("list", "table", "inet", "foreign") + nft("list", "table", "ip", "wt")
    w = World(tmp_path)
    w.publish(A, w.a, PortMap(guest_port=80, host_port=8080))
    publish.unpublish(w.layout, A)
    w.set_networks(MAIN)
    assert nft("list", "table", "inet", "foreign") + nft("list", "table", "ip", "wt") == before


@isolated
def test_removed_networks_leave_nothing(tmp_path: Path) -> None:
    w = World(tmp_path)
    subprocess.run(["ip", "link", "add", "other", "type", "bridge"], check=True)
    w.set_networks(MAIN)
    with Netlink() as netlink:
        names = {link.name for link in links.links(netlink) if link.kind == "bridge"}
    assert names == {"wt0", "other"}
    assert "wt-1" not in nft("list", "ruleset")
    w.set_networks(None)
    with Netlink() as netlink:
        names = {link.name for link in links.links(netlink)}
    assert names == {"lo", "up0", "other", "wtvaaa", "wtvbbb", "wtvccc", "wtvddd"}
    assert nft("list", "ruleset") == ""
    w.set_networks()
    assert tcp(w.a, w.b, "10.210.0.3", 80) == "10.210.0.2", "and all comes back"


@isolated
def test_conflicts_and_nonsense_are_refused(tmp_path: Path) -> None:
    w = World(tmp_path)
    w.publish(A, w.a, PortMap(guest_port=80, host_port=8080))
    before = nft("list", "ruleset")
    with pytest.raises(Conflict, match="port 8080/tcp is published by guest aaaaaaaaaaaa"):
        w.publish(B, w.b, PortMap(guest_port=80, host_port=8080))
    for port in (
        PortMap(guest_port=80, host_port=0),
        PortMap(guest_port=80, host_port=1, protocol="sctp"),
        PortMap(guest_port=80, host_port=1, host_ip="1.2.3.4; flush ruleset"),
        PortMap(guest_port=70000, host_port=1),
    ):
        with pytest.raises(Invalid):
            w.publish(B, w.b, port)
    assert nft("list", "ruleset") == before
    subprocess.run(["ip", "link", "add", "wt-3", "type", "bridge"], check=True)
    with pytest.raises(Conflict, match="wt-3"):
        w.set_networks(MAIN, BridgePlan(bridge="wt-3", address="10.210.3.1/24"))
    for plan in (
        BridgePlan(bridge="eth0", address="10.210.3.1/24"),
        BridgePlan(bridge="wt-x", address="10.210.3.1/24"),
        BridgePlan(bridge="wt-4", address="10.210.3.1/31"),
        BridgePlan(bridge="wt-4", address="nonsense"),
        BridgePlan(bridge="wt-4", address="10.210.3.1/24", mtu=1),
    ):
        with pytest.raises(Invalid):
            w.set_networks(plan)


@isolated
def test_what_could_not_be_done_is_not_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = World(tmp_path)
    w.publish(A, w.a, PortMap(guest_port=80, host_port=8080))
    before = netstate.read(w.layout.guest_run(A))
    with monkeypatch.context() as patch:
        patch.setattr(spawn, "PATH", "/nonexistent")
        with pytest.raises(Unsupported, match="nft"):
            w.publish(A, w.a, PortMap(guest_port=80, host_port=8081))
        with pytest.raises(Unsupported, match="nft"):
            publish.unpublish(w.layout, A)
    assert netstate.read(w.layout.guest_run(A)) == before
    assert tcp(w.out, w.a, "192.0.2.1", 8080, at=80) == "192.0.2.2"


@isolated
def test_only_what_others_remove_of_our_table_is_a_loss(tmp_path: Path) -> None:
    w = World(tmp_path)
    watch = RuleWatch(w.layout)
    nft("add", "table", "inet", "foreign")
    nft("add", "chain", "inet", "foreign", "c")
    w.publish(A, w.a, PortMap(guest_port=80, host_port=8080))
    publish.unpublish(w.layout, A)
    nft("delete", "table", "inet", "foreign")
    nft("add", "table", "ip", "wt")
    nft("delete", "table", "ip", "wt")
    w.set_networks()
    assert not watch.removed(), "our own doing, and what is not ours"
    for words in (
        "flush ruleset", "delete table inet wt", "flush table inet wt", "flush chain inet wt local",
    ):  # fmt: skip
        nft(*words.split())
        assert watch.removed(), words
        assert watch.heard() is None, "told once"
        w.set_networks()
        assert not watch.removed(), "put back"
    w.set_networks(None)
    watch.removed()
    w.set_networks(None)
    assert not watch.removed(), "there is nothing to put back"
    w.set_networks()
    nft("flush", "ruleset")
    repair_now = watch.heard()
    assert repair_now is not None
    repair_now()
    assert tcp(w.a, w.b, "10.210.0.3", 80) == "10.210.0.2"
    assert tcp(w.a, w.out, "192.0.2.2", 80) == "192.0.2.1", "masqueraded again"
    assert not watch.removed()
    watch.close()
