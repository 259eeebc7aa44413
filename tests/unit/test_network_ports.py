"""Lists of published ports that no host could publish are refused at creation."""

from __future__ import annotations

import pytest

from wirt.errors import Invalid, Unsupported, WirtError
from wirt.model.network import PortMap
from wirt.network.ports import MAX_PORTS, check_ports

P = PortMap


@pytest.mark.parametrize(
    "ports",
    [
        [],
        [P(guest_port=80)],
        [P(guest_port=80), P(guest_port=80)],
        [P(guest_port=80, host_port=80), P(guest_port=80, host_port=80, protocol="udp")],
        [
            P(guest_port=1, host_port=80, host_ip="127.0.0.1"),
            P(guest_port=2, host_port=80, host_ip="127.0.0.2"),
        ],
        [P(guest_port=80, host_port=8000, host_port_end=8010)],
        [P(guest_port=80, host_port=8000, host_port_end=8010)] * 2,
    ],
)
def test_possible_lists(ports: list[PortMap]) -> None:
    check_ports(ports)


@pytest.mark.parametrize(
    ("ports", "kind", "words"),
    [
        ([P(guest_port=0)], Invalid, "guest port 0"),
        ([P(guest_port=65536)], Invalid, "guest port 65536"),
        ([P(guest_port=80, host_port=-1)], Invalid, "host port -1"),
        ([P(guest_port=80, host_port=70000)], Invalid, "70000"),
        ([P(guest_port=80, host_port=90, host_port_end=80)], Invalid, "no range"),
        ([P(guest_port=80, host_port_end=80)], Invalid, "no range"),
        ([P(guest_port=80, protocol="sctp")], Unsupported, "unknown protocol"),
        ([P(guest_port=80, protocol="tcp; flush")], Unsupported, "unknown protocol"),
        ([P(guest_port=80, host_ip="::1")], Unsupported, "IPv4 only"),
        ([P(guest_port=80, host_ip="[::]")], Unsupported, "IPv4 only"),
        ([P(guest_port=80, host_ip="localhost")], Invalid, "localhost"),
        ([P(guest_port=80, host_ip="224.0.0.1")], Invalid, "no address of a host"),
        ([P(guest_port=80, host_port=80), P(guest_port=81, host_port=80)], Invalid, "twice"),
        (
            [P(guest_port=80, host_port=80), P(guest_port=80, host_port=80, host_ip="127.0.0.1")],
            Invalid,
            "twice",
        ),
        (
            [
                P(guest_port=80, host_port=80, host_ip="127.0.0.1"),
                P(guest_port=80, host_port=80, host_ip="0.0.0.0"),
            ],
            Invalid,
            "twice",
        ),
        ([P(guest_port=80)] * (MAX_PORTS + 1), Invalid, "too many"),
    ],
)
def test_impossible_lists(ports: list[PortMap], kind: type[WirtError], words: str) -> None:
    with pytest.raises(kind, match=words):
        check_ports(ports)
