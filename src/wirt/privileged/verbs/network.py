"""Verbs about networks: bridges, published ports, sockets for names, the host's routes."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from typing import Any

from wirt.errors import Forbidden
from wirt.privileged import bridges, check, links, publish, shape
from wirt.privileged.context import Context, Outcome, Route, Sent, on
from wirt.privileged.netlink import Netlink
from wirt.privileged.nft import NAMES_PORT
from wirt.privileged.protocol import (
    Done,
    HostRoutes,
    Listen,
    PublishPorts,
    Routes,
    SetNetworks,
    ShapeTraffic,
    Sweep,
)


def set_networks(ctx: Context, verb: SetNetworks, _fds: Sequence[int]) -> Done:
    """Bridges, then the table with the ports of running guests; without bridges no shaping."""
    with publish.locked(ctx.layout):
        if not verb.bridges:
            shape.set_classes(ctx.layout, ())
        bridges.set_bridges(ctx.layout, verb.bridges)
        publish.rebuild(ctx.layout)
    return Done()


def publish_ports(ctx: Context, verb: PublishPorts, _fds: Sequence[int]) -> Done:
    """Make exactly these ports the published ones."""
    guest_id = check.guest_id(verb.id)
    publish.publish(ctx.layout, guest_id, address=verb.address, ports=verb.ports)
    return Done()


def listen(ctx: Context, verb: Listen, _fds: Sequence[int]) -> Outcome[Done]:
    """A bound socket (listening, for TCP) on the address of one of our bridges, for names only."""
    homes = {plan.address.partition("/")[0] for plan in bridges.existing(ctx.layout)}
    if verb.address not in homes or verb.port != NAMES_PORT:
        raise Forbidden(f"{verb.address}:{verb.port} is no place for the names of a network")
    kind = socket.SOCK_DGRAM if verb.udp else socket.SOCK_STREAM
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if not verb.udp:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((verb.address, verb.port))
        if not verb.udp:
            sock.listen(64)
    except OSError as error:
        sock.close()
        protocol = "udp" if verb.udp else "tcp"
        reason = f"listen on {verb.address}:{verb.port}/{protocol}: {error.strerror}"
        raise OSError(error.errno, reason) from error
    return Sent(answer=Done(), fds=(sock.detach(),))


def shape_traffic(ctx: Context, verb: ShapeTraffic, _fds: Sequence[int]) -> Done:
    """Buckets, and the ways of running guests' frames through them."""
    with publish.locked(ctx.layout):
        shape.set_classes(ctx.layout, verb.classes)
    return Done()


def host_routes(ctx: Context, _verb: HostRoutes, _fds: Sequence[int]) -> Routes:
    """All but the default route, and all but those of our own bridges."""
    with Netlink() as netlink:
        own = {plan.bridge for plan in bridges.existing(ctx.layout)}
        ours = {link.index for link in links.links(netlink) if link.name in own}
        found = [
            route.destination
            for route in links.routes(netlink)
            if route.interface not in ours and not route.destination.endswith("/0")
        ]
    return Routes(networks=tuple(dict.fromkeys(found)))


def sweep_links(ctx: Context, verb: Sweep) -> Iterable[str]:
    """Cards of guests that do not run: a veth whose other end is held by something else."""
    pattern = re.compile(re.escape(ctx.layout.link_alias("")) + "([0-9a-f]{64})")
    with Netlink() as netlink:
        for link in links.links(netlink):
            match = pattern.fullmatch(link.alias)
            if match is not None and match[1] not in verb.running:
                links.delete_link(netlink, name=link.name)
                yield f"interface {link.name} of guest {match[1][:12]}"


HANDLERS: tuple[Route[Any, Any], ...] = (
    on(SetNetworks, set_networks),
    on(PublishPorts, publish_ports),
    on(Listen, listen),
    on(HostRoutes, host_routes),
    on(ShapeTraffic, shape_traffic),
)
SWEEPERS = (sweep_links,)
