"""Our rtnetlink, judged by iproute2."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from needs import needs
from netlab import Box, isolated
from wirt.privileged import links
from wirt.privileged.netlink import Netlink, attribute, attributes, nested
from wirt.privileged.tap import open_tap

root = needs("root", "netns")
MAC = "02:42:0a:d2:00:01"


def ip(*words: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-j", "-d", *words], capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def pings(address: str, *, within: int = 20) -> bool:
    """Whether one of the packets that are sent for so many seconds is answered."""
    words = ["ping", "-c1", "-i0.2", f"-w{within}", address]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def link(name: str) -> dict[str, Any]:
    return ip("link", "show", name)[0]


@root
@isolated
def test_a_bridge() -> None:
    with Netlink() as netlink:
        links.add_bridge(netlink, name="wt0", mac=MAC, mtu=1400, alias="wt:bridge")
        links.add_address(netlink, interface="wt0", address="10.210.0.1/22")
        links.add_address(netlink, interface="wt0", address="10.210.0.1/22")
        links.set_link(netlink, name="wt0", up=True)
        seen = link("wt0")
        assert seen["linkinfo"]["info_kind"] == "bridge"
        assert (seen["address"], seen["mtu"], seen["ifalias"]) == (MAC, 1400, "wt:bridge")
        assert "UP" in seen["flags"]
        (address,) = ip("addr", "show", "wt0")[0]["addr_info"][:1]
        assert (address["local"], address["prefixlen"], address["broadcast"]) == (
            "10.210.0.1", 22, "10.210.3.255",
        )  # fmt: skip
        (ours,) = [found for found in links.links(netlink) if found.name == "wt0"]
        assert (ours.kind, ours.mac, ours.alias, ours.up) == ("bridge", MAC, "wt:bridge", True)
        assert (ours.index, "10.210.0.1/22") in links.addresses(netlink)
        assert [r.destination for r in links.routes(netlink)] == ["10.210.0.0/22"]
        links.delete_address(netlink, interface="wt0", address="10.210.0.1/22")
        assert links.routes(netlink) == []
        links.delete_link(netlink, name="wt0")
        links.delete_link(netlink, name="wt0")
        assert [found["ifname"] for found in ip("link")] == ["lo"]


@root
@isolated
def test_an_unplugged_card_is_silent_and_is_deleted_by_number() -> None:
    old, new = Box(), Box()
    with Netlink() as netlink:
        links.add_bridge(netlink, name="wt0", mac=MAC, mtu=1500, alias="x")
        links.add_address(netlink, interface="wt0", address="10.210.0.1/22")
        links.set_link(netlink, name="wt0", up=True)
        card = {"bridge": "wt0", "mac": "02:42:0a:d2:00:02", "mtu": 1500, "alias": "wt:guest"}
        links.add_veth(netlink, host="wtv1", guest="eth0", pid=old.pid, **card)  # type: ignore[arg-type]
        with old.inside():
            links.configure("eth0", "10.210.0.2/22", "")
        assert pings("10.210.0.2")
        index = links.unplug(netlink, name="wtv1")
        assert index is not None
        assert not pings("10.210.0.2", within=1), "its address can be given away"
        links.add_veth(netlink, host="wtv2", guest="eth0", pid=new.pid, **card)  # type: ignore[arg-type]
        with new.inside():
            links.configure("eth0", "10.210.0.2/22", "")
        assert pings("10.210.0.2")
        links.delete_unplugged(netlink, index=index)
        links.delete_unplugged(netlink, index=index)
        assert links.unplug(netlink, name="wtv1") is None
        assert pings("10.210.0.2")


@root
@isolated
def test_a_veth_into_another_namespace() -> None:
    box = Box()
    with Netlink() as netlink:
        links.add_bridge(netlink, name="wt0", mac=MAC, mtu=1500, alias="x")
        links.add_veth(
            netlink, host="wtv1", guest="eth0", pid=box.pid, bridge="wt0",
            mac="02:42:0a:d2:00:02", mtu=1400, alias="wt:guest", isolated=True,
        )  # fmt: skip
        seen = link("wtv1")
        port = seen["linkinfo"]["info_slave_data"]
        assert (seen["master"], seen["ifalias"], seen["mtu"]) == ("wt0", "wt:guest", 1400)
        assert (port["hairpin"], port["isolated"]) == (True, True)
        with box.inside():
            links.configure("eth0", "10.210.0.2/24", "10.210.0.1")
            inner = link("eth0")
            assert (inner["address"], inner["mtu"]) == ("02:42:0a:d2:00:02", 1400)
            assert {"UP", "LOWER_UP"} <= set(inner["flags"])
            assert "UP" in link("lo")["flags"]
            (default,) = [r for r in ip("route") if r["dst"] == "default"]
            assert (default["gateway"], default["dev"]) == ("10.210.0.1", "eth0")
        box.end()


@root
@isolated
def test_the_socket_stays_in_its_namespace() -> None:
    """The launch child opens its socket before it leaves the host."""
    box = Box()
    with Netlink() as netlink:
        links.add_bridge(netlink, name="wt0", mac=MAC, mtu=1500, alias="x")
        with box.inside():
            links.set_link(netlink, name="wt0", up=True)
            assert [found["ifname"] for found in ip("link")] == ["lo"]
        assert "UP" in link("wt0")["flags"]


@needs("root", "netns", "tap")
@isolated
def test_a_tap_lives_as_long_as_its_descriptor() -> None:
    with Netlink() as netlink:
        links.add_bridge(netlink, name="wt0", mac=MAC, mtu=1500, alias="x")
        tap = open_tap(netlink, name="wtv1", bridge="wt0", mtu=1500, alias="wt:guest")
        seen = link("wtv1")
        assert (seen["master"], seen["ifalias"]) == ("wt0", "wt:guest")
        assert seen["linkinfo"]["info_slave_data"]["hairpin"]
        assert not os.get_inheritable(tap)
        with pytest.raises(OSError, match="open tap wtv1 on bridge wt0"):
            open_tap(netlink, name="wtv1", bridge="wt0", mtu=1500, alias="x")
        with pytest.raises(OSError, match="nosuch"):
            open_tap(netlink, name="wtv2", bridge="nosuch", mtu=1500, alias="x")
        os.close(tap)
        assert {found["ifname"] for found in ip("link")} == {"lo", "wt0"}


@root
@isolated
def test_refusals_say_what_was_asked_and_leave_nothing() -> None:
    box = Box()
    veth = {
        "host": "wtv1", "guest": "eth0", "pid": box.pid, "bridge": "wt0", "mac": MAC, "mtu": 1500,
        "alias": "x",
    }  # fmt: skip
    with Netlink() as netlink:
        links.add_bridge(netlink, name="wt0", mac=MAC, mtu=1500, alias="x")
        cases: list[tuple[dict[str, Any], int, str]] = [
            ({"pid": 2**22 + 1}, errno.ESRCH, "No such process"),
            ({"bridge": "nosuch"}, errno.ENODEV, "find interface nosuch"),
            ({"host": "a" * 16}, errno.EINVAL, "invalid interface name"),
            ({"host": "../x"}, errno.EINVAL, "invalid interface name"),
            ({"mac": "01:00:00:00:00:00"}, errno.EINVAL, "invalid MAC"),
            ({"guest": "lo"}, errno.EEXIST, "File exists"),
        ]
        for change, number, words in cases:
            with pytest.raises(OSError, match=words) as caught:
                links.add_veth(netlink, **{**veth, **change})
            assert caught.value.errno == number
        assert {found["ifname"] for found in ip("link")} == {"lo", "wt0"}
        with pytest.raises(FileExistsError, match="add bridge wt0"):
            links.add_bridge(netlink, name="wt0", mac=MAC, mtu=1500, alias="x")
        with pytest.raises(OSError, match=r"change interface wt0: .*\(.*mtu.*\)"):
            links.set_link(netlink, name="wt0", mtu=2**31)


@root
@isolated
def test_many_links_are_listed_whole() -> None:
    subprocess.run(
        ["sh", "-c", "for n in $(seq 150); do echo link add wtx$n type bridge; done | ip -b -"],
        check=True,
    )
    with Netlink() as netlink:
        assert len(links.links(netlink)) == 151


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40))))
def test_attributes_round_trip(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(kind, value) for kind, value in pairs)
    assert len(data) % 4 == 0
    assert list(attributes(data)) == pairs
    assert list(attributes(nested(5, data))) == [(5, data)]


@given(st.binary(max_size=200))
def test_damaged_attributes_end_the_walk(data: bytes) -> None:
    assert sum(len(value) + 4 for _, value in attributes(data)) <= len(data)
