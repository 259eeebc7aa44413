"""The bridges of an instance: made, altered and removed until they are as planned.

A bridge of ours carries the alias ``<instance>:bridge`` or ``<instance>:bridge:internal``, so
the kernel itself remembers the plan and the helper needs no file for it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface
from pathlib import Path

from wirt.errors import Conflict, Invalid
from wirt.layout import Layout
from wirt.privileged import links, netstate
from wirt.privileged.links import Link
from wirt.privileged.netlink import Netlink
from wirt.privileged.protocol import BridgePlan

log = logging.getLogger("wirt.privileged")

_SYSCTL = Path("/proc/sys/net")
_INTERNAL = ":internal"


def set_bridges(layout: Layout, plans: Sequence[BridgePlan]) -> None:
    """Make exactly these bridges exist, with their addresses, and running guests' cards in them.

    Raises Conflict when an interface that is not ours has the name, Invalid, OSError.
    """
    for plan in plans:
        _check(layout, plan)
    with Netlink() as netlink:
        have = {link.name: link for link in _ours(layout, netlink)}
        for plan in plans:
            _set_bridge(layout, netlink, plan, have.pop(plan.bridge, None))
        for name in have:
            links.delete_link(netlink, name=name)
        _plug_in(layout, netlink)
    if any(not plan.internal for plan in plans):
        _write("ipv4/ip_forward", "1")


def existing(layout: Layout) -> tuple[BridgePlan, ...]:
    """The plans of the bridges that are there."""
    with Netlink() as netlink:
        return tuple(_plans(layout, netlink))


def _plans(layout: Layout, netlink: Netlink) -> Iterator[BridgePlan]:
    addresses = dict(links.addresses(netlink))
    for link in _ours(layout, netlink):
        address = addresses.get(link.index)
        if address is not None:
            internal = link.alias.endswith(_INTERNAL)
            yield BridgePlan(bridge=link.name, address=address, internal=internal, mtu=link.mtu)


def _ours(layout: Layout, netlink: Netlink) -> list[Link]:
    alias = layout.link_alias("bridge")
    return [
        link
        for link in links.links(netlink)
        if link.kind == "bridge" and link.alias in {alias, alias + _INTERNAL}
    ]


def _set_bridge(layout: Layout, netlink: Netlink, plan: BridgePlan, have: Link | None) -> None:
    alias = layout.link_alias("bridge") + (_INTERNAL if plan.internal else "")
    if have is None:
        try:
            links.add_bridge(netlink, name=plan.bridge, mac=_mac(plan), mtu=plan.mtu, alias=alias)
        except FileExistsError as error:
            raise Conflict(
                f"there is an interface {plan.bridge} that is not wirt's",
                hint=f"remove it (ip link delete {plan.bridge}) or rename it",
                code="network.interface-taken",
            ) from error
    elif have.alias != alias or have.mac != _mac(plan):
        links.set_link(netlink, name=plan.bridge, alias=alias, mac=_mac(plan))
    _configure(plan.bridge)
    index = next(link.index for link in links.links(netlink) if link.name == plan.bridge)
    for where, address in links.addresses(netlink):
        if where == index and address != plan.address:
            links.delete_address(netlink, interface=plan.bridge, address=address)
    links.add_address(netlink, interface=plan.bridge, address=plan.address)
    links.set_link(netlink, name=plan.bridge, up=True)


def _configure(bridge: str) -> None:
    """IPv6 off: the host takes no router advertisements from guests and is not reached by a
    way that no rule knows. 127.0.0.0/8 may be routed, for published ports on it."""
    _write(f"ipv6/conf/{bridge}/disable_ipv6", "1")
    _write(f"ipv4/conf/{bridge}/route_localnet", "1")


def _plug_in(layout: Layout, netlink: Netlink) -> None:
    """Cards of running guests lose their bridge when somebody deletes it; put them back."""
    there = {link.name: link for link in links.links(netlink)}
    for guest_id, state in netstate.running(layout):
        for card in state.cards:
            link, bridge = there.get(card.host), there.get(card.link.bridge)
            if link is None or bridge is None or link.master == bridge.index:
                continue
            if link.alias != layout.link_alias(guest_id):
                continue
            log.warning("card %s of guest %s is back on %s", card.host, guest_id, bridge.name)
            links.set_link(netlink, name=link.name, master=bridge.name)
            links.set_link(netlink, name=link.name, hairpin=True)


def check_name(layout: Layout, bridge: str) -> None:
    """Raise Invalid for a bridge that cannot be this instance's: guests join no other."""
    ours = rf"{re.escape(layout.default_bridge)}|{re.escape(layout.name)}-[1-9][0-9]{{0,3}}"
    if not re.fullmatch(ours, bridge):
        raise Invalid(f"{bridge[:40]!r} is no bridge name of the instance {layout.name}")


def _check(layout: Layout, plan: BridgePlan) -> None:
    check_name(layout, plan.bridge)
    try:
        home = IPv4Interface(plan.address)
    except ValueError as error:
        raise Invalid(f"{plan.address!r} is no IPv4 address with a prefix") from error
    if home.network.prefixlen > 30:
        raise Invalid(f"the network {home.network} has no room for a guest")
    if not 68 <= plan.mtu <= 65535:
        raise Invalid(f"an MTU of {plan.mtu} bytes is not in 68..65535")


def _mac(plan: BridgePlan) -> str:
    return (b"\x02\x42" + IPv4Interface(plan.address).packed).hex(":")


def _write(name: str, value: str) -> None:
    """Set a kernel parameter that has another value. One that is not there is left out: a kernel
    without IPv6 has nothing to turn off."""
    path = _SYSCTL / name
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except FileNotFoundError:
        log.debug("no kernel parameter %s", path)
