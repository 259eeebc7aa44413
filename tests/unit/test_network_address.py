"""Subnets and addresses are chosen without ever giving one away twice."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.errors import Exhausted, Invalid
from wirt.network.address import (
    POOL,
    check_mac,
    check_overlap,
    choose_address,
    choose_subnet,
    gateway_of,
    mac_of,
    parse_subnet,
)

networks = st.builds(
    lambda number, prefix: str(IPv4Network((number, prefix), strict=False)),
    st.one_of(
        st.integers(int(IPv4Address("10.209.0.0")), int(IPv4Address("10.212.0.0"))),
        st.integers(0, 2**32 - 1),
    ),
    st.integers(8, 32),
)


@given(taken=st.lists(networks, max_size=20), prefix=st.integers(16, 30))
def test_a_chosen_subnet_overlaps_nothing_and_none_before_it_would_do(
    taken: list[str], prefix: int
) -> None:
    others = [IPv4Network(text) for text in taken]
    try:
        chosen = choose_subnet(taken, prefix=prefix, pool=["10.210.0.0/15"])
    except Exhausted:
        chosen = IPv4Network("10.212.0.0/16")
    else:
        assert chosen.prefixlen == prefix
        assert not any(chosen.overlaps(other) for other in others)
    steps = range(int(IPv4Address("10.210.0.0")), int(chosen.network_address), 1 << (32 - prefix))
    for number in steps[-50:]:
        assert any(IPv4Network((number, prefix)).overlaps(other) for other in others)


def test_the_pool_is_used_up_in_order() -> None:
    assert str(choose_subnet([])) == "10.210.0.0/24"
    assert str(choose_subnet(["10.210.0.0/24"])) == "10.210.1.0/24"
    assert str(choose_subnet(["10.210.0.0/22", "10.210.5.0/24"])) == "10.210.4.0/24"
    assert str(choose_subnet(["10.0.0.0/8"])) == "172.30.0.0/24"
    assert str(choose_subnet(["10.210.0.77/32"])) == "10.210.1.0/24"
    with pytest.raises(Exhausted) as caught:
        choose_subnet(POOL)
    assert caught.value.code == "network.no-subnet"


@given(taken=st.sets(st.integers(1, 6)), wish=st.none() | st.integers(0, 7))
def test_addresses_are_unique_inside_the_subnet_and_never_the_gateway(
    taken: set[int], wish: int | None
) -> None:
    subnet = IPv4Network("10.1.0.0/29")
    used = {str(subnet[number]) for number in taken}
    text = None if wish is None else str(subnet[wish])
    free = [number for number in range(2, 7) if number not in taken]
    if wish is None and not free:
        with pytest.raises(Exhausted):
            choose_address(subnet, used, gateway="10.1.0.1")
    elif wish is not None and wish not in free:
        with pytest.raises(Invalid):
            choose_address(subnet, used, gateway="10.1.0.1", wish=text)
    else:
        address = choose_address(subnet, used, gateway="10.1.0.1", wish=text)
        assert address == subnet[min(free) if wish is None else wish]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10.0.0.0", "add the prefix length"),
        ("10.0.0.1/24", "write 10.0.0.0/24"),
        ("10.0.0.0/31", "too small"),
        ("10.0.0.0/7", "too large"),
        ("0.0.0.0/8", "special meaning"),
        ("0.0.0.0/0", "too large"),
        ("224.0.0.0/24", "special meaning"),
        ("127.0.0.0/24", "special meaning"),
        ("169.254.0.0/16", "special meaning"),
        ("fd00::/64", "IPv6"),
        ("10.0.0.0/255.255.255.0x", "invalid subnet"),
        ("", "invalid subnet"),
        ("x" * 10_000, "invalid subnet"),
    ],
)
def test_impossible_subnets_are_refused(text: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_subnet(text)
    assert words in f"{caught.value.message} {caught.value.hint}"
    assert len(caught.value.message) < 200


def test_gateways() -> None:
    subnet = parse_subnet("10.9.0.0/24")
    assert str(gateway_of(subnet)) == "10.9.0.1"
    assert str(gateway_of(subnet, "10.9.0.254")) == "10.9.0.254"
    for bad in ("10.9.0.0", "10.9.0.255", "10.8.0.1", "x", "::1"):
        with pytest.raises(Invalid):
            gateway_of(subnet, bad)


def test_overlaps_name_the_other() -> None:
    subnet = parse_subnet("10.9.0.0/24")
    with pytest.raises(Invalid, match="network 'web'"):
        check_overlap(subnet, [("web", "10.9.0.128/25")], [])
    with pytest.raises(Invalid, match="has a route"):
        check_overlap(subnet, [], ["10.0.0.0/8"])
    check_overlap(subnet, [("web", "10.9.1.0/24")], ["192.168.0.0/16"])


def test_macs() -> None:
    assert mac_of(IPv4Address("10.210.0.2")) == "02:42:0a:d2:00:02"
    assert check_mac("02-42-AC-11-00-02") == "02:42:ac:11:00:02"
    for bad in (
        "", "01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "02:42:ac:11:0",
        "02:42:ac:11:00:0g", "02:42:ac:11:00:02:03", "\u06602:42:ac:11:00:02",
    ):  # fmt: skip
        with pytest.raises(Invalid):
            check_mac(bad)
