"""The files that tell a guest who it is."""

from __future__ import annotations

import pytest

from wirt.errors import Invalid
from wirt.model.network import Endpoint
from wirt.network.hosts import (
    check_dns,
    host_hosts,
    hosts_file,
    parse_extra,
    parse_resolvers,
    reachable,
    resolv_conf,
)

PLACE = Endpoint(
    network_id="n", network="bridge", address="10.210.0.2", prefix=24, gateway="10.210.0.1",
    mac="02:42:0a:d2:00:02", interface="eth0",
)  # fmt: skip


def test_hosts_of_a_guest() -> None:
    text = hosts_file(
        hostname="db.example.org",
        endpoints=[PLACE],
        extra=["up:192.0.2.9", "me=host-gateway", "six:[2001:db8::1]"],
        gateway="10.210.0.1",
    )
    entries = [tuple(line.split()) for line in text.splitlines()]
    assert ("127.0.0.1", "localhost") in entries
    assert ("10.210.0.2", "db.example.org", "db") in entries
    assert ("10.210.0.1", "host.wirt.internal", "host.docker.internal") in entries
    assert ("192.0.2.9", "up") in entries
    assert ("10.210.0.1", "me") in entries
    assert ("2001:db8::1", "six") in entries
    assert text.endswith("\n")


def test_hosts_without_a_network() -> None:
    text = hosts_file(hostname="alone", endpoints=[])
    assert "127.0.1.1\talone\n" in text
    assert "internal" not in text
    with pytest.raises(Invalid, match="no gateway"):
        hosts_file(hostname="alone", endpoints=[], extra=["x:host-gateway"])


def test_hosts_in_the_hosts_network() -> None:
    assert host_hosts("127.0.0.1 localhost", extra=["h:host-gateway"]) == (
        "127.0.0.1 localhost\n127.0.0.1\th\n"
    )


@pytest.mark.parametrize(
    "entry",
    [
        "", ":", "x", "x:", ":1.2.3.4", "x:1.2.3", "a b:1.2.3.4", "x:1.2.3.4\n6.6.6.6 bank",
        "x\ny:1.2.3.4", "x:1.2.3.4 y", "#:1.2.3.4",
    ],
)  # fmt: skip
def test_extra_hosts_that_mean_nothing(entry: str) -> None:
    with pytest.raises(Invalid, match="extra host"):
        parse_extra([entry], gateway="10.0.0.1")


def test_the_hosts_resolvers() -> None:
    found = parse_resolvers(
        "# comment\nnameserver 127.0.0.53\nnameserver fe80::1%eth0 ; x\nnameserver nonsense\n"
        "nameserver 192.0.2.53\ndomain old\nsearch a.example b.example\noptions edns0 trust-ad\n"
        "nameserver\n\x00\n"
    )
    assert found.servers == ("127.0.0.53", "fe80::1%eth0", "192.0.2.53")
    assert found.search == ("a.example", "b.example")
    assert found.options == ("edns0", "trust-ad")
    assert reachable(s for s in found.servers if "%" not in s) == ("192.0.2.53",)


def test_resolv_conf() -> None:
    assert resolv_conf(["10.0.0.1"]) == "nameserver 10.0.0.1\n"
    text = resolv_conf(["1.1.1.1"] * 5, ["x"] * 9, ndots=True)
    assert text.count("nameserver") == 3
    assert text.splitlines()[3:] == ["search x x x x x x", "options ndots:0"]


def test_dns_servers_must_be_addresses() -> None:
    check_dns(["192.0.2.1", "2001:db8::1"])
    for bad in ("dns.example", "192.0.2.1\noptions x", ""):
        with pytest.raises(Invalid, match="DNS server"):
            check_dns([bad])
