"""Framing between daemon and helper, with every way to cut the bytes."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.privileged.wire import MAX_DESCRIPTORS, MAX_PAYLOAD, BrokenPacket, Channel, Packet


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Channel]]:
    a, b = socket.socketpair()
    channel = Channel(b)
    yield a, channel
    a.close()
    channel.close()


def _drain(channel: Channel) -> list[Packet]:
    found = []
    while (packet := channel.receive()) is not None:
        found.append(packet)
    return found


def _open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@given(
    payloads=st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
def test_packets_survive_any_cutting(payloads: list[bytes], cuts: list[int]) -> None:
    a, b = socket.socketpair()
    channel = Channel(b)
    data = b"".join(struct.pack("!II", len(p), i) + p for i, p in enumerate(payloads))
    found: list[Packet] = []
    position = turn = 0
    while position < len(data):
        step = cuts[turn % len(cuts)]
        a.sendall(data[position : position + step])
        position += step
        turn += 1
        found += _drain(channel)
    assert [(p.id, p.payload) for p in found] == list(enumerate(payloads))
    a.close()
    channel.close()


@given(garbage=st.binary(max_size=64))
def test_garbage_never_hangs_or_surprises(garbage: bytes) -> None:
    a, b = socket.socketpair()
    channel = Channel(b)
    a.sendall(garbage)
    a.close()
    with pytest.raises((EOFError, BrokenPacket)):
        _drain(channel)
    channel.close()


def test_descriptors_stay_with_their_packet(pair: tuple[socket.socket, Channel]) -> None:
    a, channel = pair
    sender = Channel(a)
    read, write = os.pipe()
    sender.send(1, b"without")
    sender.send(2, b"with", [write])
    sender.send(3, b"without again")
    first, second, third = _drain(channel)
    assert (first.fds, third.fds) == ((), ())
    (fd,) = second.fds
    assert not os.get_inheritable(fd)
    os.write(fd, b"x")
    os.close(fd)
    assert os.read(read, 2) == b"x"
    assert os.read(read, 2) == b"", "the sender kept its copy"
    os.close(read)


def test_a_large_packet_is_sent_in_turns(pair: tuple[socket.socket, Channel]) -> None:
    a, channel = pair
    sender = Channel(a)
    sender.send(7, b"z" * MAX_PAYLOAD)
    assert sender.pending
    packet = None
    while packet is None:
        sender.flush()
        packet = channel.receive()
    assert (packet.id, len(packet.payload), sender.pending) == (7, MAX_PAYLOAD, False)


def test_too_long_a_packet_breaks_the_connection(pair: tuple[socket.socket, Channel]) -> None:
    a, channel = pair
    a.sendall(struct.pack("!II", MAX_PAYLOAD + 1, 0))
    with pytest.raises(BrokenPacket):
        channel.receive()
    with pytest.raises(ValueError, match="bytes"):
        channel.send(1, b"x" * (MAX_PAYLOAD + 1))


def test_too_many_descriptors_break_the_connection(pair: tuple[socket.socket, Channel]) -> None:
    a, channel = pair
    null = os.open("/dev/null", os.O_RDONLY)
    socket.send_fds(a, [struct.pack("!II", 0, 0)], [null] * (MAX_DESCRIPTORS + 20))
    before = _open_descriptors()
    with pytest.raises(BrokenPacket):
        channel.receive()
    channel.close()
    assert _open_descriptors() <= before
    os.close(null)


def test_the_other_sides_end_is_told(pair: tuple[socket.socket, Channel]) -> None:
    a, channel = pair
    a.sendall(struct.pack("!II", 5, 0) + b"ha")
    assert channel.receive() is None
    a.close()
    with pytest.raises(EOFError):
        channel.receive()
