"""Published ports: elements of the table's maps, and ``net.json`` that outlives the helper.

``net.json`` is written first, then the kernel is told. When the kernel's table is not as expected
(another program flushed the rules, the helper was killed in between), it is built anew. One lock
keeps the helper's loop and its children, which launch guests, out of each other's way.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address

import msgspec

from wirt.errors import Conflict, Invalid, NotFound
from wirt.layout import Layout
from wirt.linux.spawn import CommandFailed
from wirt.model.network import PortMap
from wirt.privileged import bridges, conntrack, netstate, nft
from wirt.privileged.netstate import NetState

log = logging.getLogger("wirt.privileged")


@contextlib.contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Hold the instance's network lock; the kernel frees it when the process dies."""
    lock = os.open(layout.run / "g", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def publish(layout: Layout, guest_id: str, *, address: str, ports: tuple[PortMap, ...]) -> None:
    """Make exactly ``ports`` the published ones of a running guest. Idempotent.

    ``address`` is that of one of the guest's cards, which ``net.json`` has already. Raises
    Invalid for another address or a port without a number, Conflict when another running guest
    has one of the ports, NotFound when this one does not run.
    """
    _check(address, ports)
    directory = layout.guest_run(guest_id)
    with locked(layout):
        if not directory.is_dir():
            raise NotFound(f"guest {guest_id[:12]} does not run", code="guest.not-running")
        old = netstate.read(directory)
        if address and address not in {c.link.address.partition("/")[0] for c in old.cards}:
            raise Invalid(f"guest {guest_id[:12]} does not have the address {address}")
        _conflicts(layout, guest_id, ports)
        _change(layout, guest_id, old, msgspec.structs.replace(old, address=address, ports=ports))


def unpublish(layout: Layout, guest_id: str) -> None:
    """Take all published ports of a guest away. Idempotent; call it before the run directory
    goes."""
    with locked(layout):
        old = netstate.read(layout.guest_run(guest_id))
        if old.ports:
            _change(layout, guest_id, old, msgspec.structs.replace(old, ports=()))


def rebuild(layout: Layout) -> None:
    """Put the whole table in place: the bridges that are there, and the ports of all running
    guests. Without bridges there is no table. The caller holds the lock."""
    plans = bridges.existing(layout)
    if not plans:
        nft.drop(layout.nft_table)
        return
    elements: list[str] = []
    taken: set[tuple[str, str, int]] = set()
    for guest_id, state in netstate.running(layout):
        keys = {_key(port) for port in state.ports}
        if keys & taken:
            log.error("ports of guest %s belong to another guest; not published", guest_id)
            continue
        taken |= keys
        elements.extend(nft.add(layout.nft_table, state.address, state.ports))
    nft.run(nft.ruleset(layout.nft_table, plans, elements))


def _change(layout: Layout, guest_id: str, old: NetState, new: NetState) -> None:
    """Write down what is published, then do it; on failure it is as before."""
    directory = layout.guest_run(guest_id)
    netstate.write(directory, new)
    gone = nft.delete(layout.nft_table, old.address, old.ports)
    text = "\n".join([*gone, *nft.add(layout.nft_table, new.address, new.ports), ""])
    try:
        try:
            nft.run(text.lstrip())
        except CommandFailed as error:
            log.warning("table %s is not as expected, building it anew: %s", layout.name, error)
            rebuild(layout)
    except BaseException:
        netstate.write(directory, old)
        raise
    if any(port.protocol == "udp" for port in old.ports):
        # Conversations over UDP have no end that the kernel sees: it would go on sending the
        # datagrams of a client that keeps its port to the guest's old address.
        conntrack.forget_udp(old.address)


def _check(address: str, ports: tuple[PortMap, ...]) -> None:
    """What goes into nft's text must be an address and numbers, whoever asks."""
    try:
        for text in (address, *(port.host_ip for port in ports)):
            if text:
                IPv4Address(text)
    except AddressValueError as error:
        raise Invalid(f"{text!r} is no IPv4 address") from error
    if ports and not address:
        raise Invalid("ports cannot be published: the guest has no address with a way out")
    for port in ports:
        if port.protocol not in {"tcp", "udp"}:
            raise Invalid(f"unknown protocol {port.protocol!r}", hint="tcp and udp are known")
        if not (0 < port.host_port < 65536 and 0 < port.guest_port < 65536):
            raise Invalid(f"port {port.host_port}:{port.guest_port} is not in 1..65535")


def _conflicts(layout: Layout, guest_id: str, ports: tuple[PortMap, ...]) -> None:
    wanted = {_key(port): port for port in ports}
    if len(wanted) != len(ports):
        raise Invalid("a port is published twice")
    for other, state in netstate.running(layout):
        for port in state.ports:
            if other != guest_id and _key(port) in wanted:
                raise Conflict(
                    f"port {port.host_port}/{port.protocol} is published by guest {other[:12]}",
                    hint="choose another host port, or stop that guest",
                    code="port.in-use",
                )


def _key(port: PortMap) -> tuple[str, str, int]:
    everywhere = port.host_ip in {"", "0.0.0.0"}  # noqa: S104 - the word for every address
    return (port.protocol, "" if everywhere else port.host_ip, port.host_port)
