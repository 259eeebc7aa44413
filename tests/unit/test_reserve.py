"""Port reservations with real sockets on the loopback."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator

import pytest

from wirt.errors import Conflict, Invalid
from wirt.model.network import PortMap
from wirt.privileged.reserve import EPHEMERAL, candidates, holder, reserve


def _free(number: int) -> bool:
    """Whether nobody has this port, of either protocol."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as sock:
            try:
                sock.bind(("127.0.0.1", number))
            except OSError:
                return False
    return True


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of 127.0.0.1 on which this process listens; the next one is free. Not one of those
    that the kernel gives to whoever asks for any."""
    while True:
        number = secrets.choice(range(EPHEMERAL[1] + 1, 65_000))
        if not (_free(number) and _free(number + 1)):
            continue
        with socket.socket() as first:
            try:
                first.bind(("127.0.0.1", number))
            except OSError:
                continue
            first.listen()
            yield number
            return


def _port(number: int, end: int = 0, protocol: str = "tcp") -> PortMap:
    return PortMap(
        guest_port=80, host_port=number, host_port_end=end, host_ip="127.0.0.1", protocol=protocol
    )


def test_a_taken_port_is_a_conflict_that_names_the_holder(taken: int) -> None:
    with pytest.raises(Conflict, match=rf"host port {taken}/tcp is in use by .*{os.getpid()}"):
        reserve([_port(taken)])
    assert str(os.getpid()) in holder(_port(taken))


def test_a_range_takes_the_first_free_one(taken: int) -> None:
    got = reserve([_port(taken, taken + 1)])
    try:
        assert got.ports == (_port(taken + 1),)
        with pytest.raises(Conflict, match="all host ports"):
            reserve([_port(taken, taken + 1)])
    finally:
        for fd in got.fds:
            os.close(fd)


def test_all_or_none(taken: int) -> None:
    with pytest.raises(Conflict):
        reserve([_port(taken + 1), _port(taken)])
    with socket.socket() as free:
        free.bind(("127.0.0.1", taken + 1))


def test_the_same_number_for_tcp_and_udp(taken: int) -> None:
    got = reserve([_port(taken, protocol="udp"), _port(taken + 1), _port(taken + 1, 0, "udp")])
    try:
        with pytest.raises(Conflict, match="udp"):
            reserve([_port(taken, protocol="udp")])
    finally:
        for fd in got.fds:
            os.close(fd)


def test_a_reserved_port_cannot_be_taken_even_by_those_who_share(taken: int) -> None:
    got = reserve([_port(taken + 1)])
    try:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", taken + 1))
    finally:
        os.close(got.fds[0])


def test_zero_gives_a_free_ephemeral_port() -> None:
    got = reserve([_port(0), _port(0)])
    try:
        first, second = (port.host_port for port in got.ports)
        assert first != second
        assert all(EPHEMERAL[0] <= n <= EPHEMERAL[1] for n in (first, second))
    finally:
        for fd in got.fds:
            os.close(fd)
    assert sorted(candidates(_port(0))) == list(range(EPHEMERAL[0], EPHEMERAL[1] + 1))


@pytest.mark.parametrize(
    "port",
    [
        _port(70_000), _port(-1), _port(10, 5), _port(1, 70_000), _port(1, 0, "sctp"),
        PortMap(guest_port=0, host_port=80), PortMap(guest_port=65_536, host_port=80),
    ],
)  # fmt: skip
def test_impossible_ports(port: PortMap) -> None:
    with pytest.raises(Invalid):
        reserve([port])


def test_an_address_of_another_host() -> None:
    with pytest.raises(Invalid, match=r"192\.0\.2\.1"):
        reserve([PortMap(guest_port=80, host_port=18_000, host_ip="192.0.2.1")])
