"""A guest's network cards and published ports, as the helper wants to be told. Pure."""

from __future__ import annotations

import re

from wirt.engine.protocol import Start
from wirt.model.network import PortMap
from wirt.privileged.protocol import LinkPlan

_EXPOSED = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp))?", re.ASCII)


def links(start: Start) -> tuple[LinkPlan, ...]:
    """One card for each endpoint; the first that has a gateway gets the default route."""
    made: list[LinkPlan] = []
    routed = False
    for place in start.guest.endpoints:
        gateway = "" if routed else place.gateway
        routed = routed or bool(gateway)
        made.append(
            LinkPlan(
                bridge=start.bridges[place.network_id],
                address=f"{place.address}/{place.prefix}",
                mac=place.mac,
                gateway=gateway,
                interface=place.interface,
                mtu=start.mtus.get(place.network_id, 1500),
            )
        )
    return tuple(made)


def ports(start: Start) -> tuple[PortMap, ...]:
    """The ports to publish: those asked for, and with ``publish_all`` the image's exposed ones."""
    spec = start.guest.spec
    wished = list(spec.ports)
    if spec.publish_all:
        named = {(port.guest_port, port.protocol) for port in wished}
        wished += (
            port
            for port in _exposed(start.image.config.exposed_ports)
            if (port.guest_port, port.protocol) not in named
        )
    return tuple(wished)


def _exposed(texts: tuple[str, ...]) -> list[PortMap]:
    """An image's ``80/tcp`` or ``8000-8010``; malformed ones are left out, as docker does."""
    found: list[PortMap] = []
    for text in texts:
        match = _EXPOSED.fullmatch(text)
        if match is None:
            continue
        first, last = int(match[1]), int(match[2] or match[1])
        if 1 <= first <= last <= 65535 and last - first < 1024:
            protocol = match[3] or "tcp"
            found += (PortMap(guest_port=n, protocol=protocol) for n in range(first, last + 1))
    return found
