"""Lists of published ports: are they possible, and what do they mean. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from wirt.errors import Invalid, Unsupported
from wirt.model.network import PortMap

MAX_PORTS = 4096
"""Published ports of one guest: each holds a descriptor of its keeper."""

_LAST = 65535


def check_ports(ports: Sequence[PortMap]) -> None:
    """Raise Invalid or Unsupported for a list that no host could publish.

    Wrong numbers, protocols and addresses, ranges that run backwards, and two that want the same
    host port. Whether a port is free on this host is found out at the start.
    """
    if len(ports) > MAX_PORTS:
        raise Invalid(f"{len(ports)} published ports are too many", hint=f"at most {MAX_PORTS}")
    taken: dict[tuple[str, int], list[str]] = {}
    for port in ports:
        _check_port(port)
        if not port.host_port or port.host_port_end:
            continue
        where = port.host_ip if port.host_ip != "0.0.0.0" else ""  # noqa: S104 - compared only
        others = taken.setdefault((port.protocol, port.host_port), [])
        if any(other == where or not (other and where) for other in others):
            raise Invalid(
                f"host port {port.host_port}/{port.protocol} is published twice",
                hint="give each its own host port or host address",
                code="port.twice",
            )
        others.append(where)


def _check_port(port: PortMap) -> None:
    text = f"{port.host_port}:{port.guest_port}/{port.protocol}"
    if port.protocol not in {"tcp", "udp"}:
        raise Unsupported(
            f"cannot publish {text[:80]}: unknown protocol", hint="tcp and udp can be published"
        )
    if not 1 <= port.guest_port <= _LAST:
        raise Invalid(f"guest port {port.guest_port} is not in 1..65535")
    if not 0 <= port.host_port <= _LAST:
        raise Invalid(
            f"host port {port.host_port} is not in 1..65535",
            hint="leave it out, or write 0, to get a free one",
        )
    if port.host_port_end and not 0 < port.host_port <= port.host_port_end <= _LAST:
        raise Invalid(
            f"host ports {port.host_port}-{port.host_port_end} are no range",
            hint="write FIRST-LAST, from the lower to the higher",
        )
    if port.host_ip:
        _check_host(port.host_ip)


def _check_host(text: str) -> None:
    try:
        address = IPv4Address(text)
    except AddressValueError as error:
        try:
            IPv6Address(text.strip("[]"))
        except AddressValueError:
            raise Invalid(
                f"host address {text[:80]!r} is no IPv4 address", hint="write it as 127.0.0.1"
            ) from error
        raise Unsupported(
            f"cannot publish on {text}: ports are published on IPv4 only",
            hint="leave the address out to publish on all IPv4 addresses",
            code="port.ipv6",
        ) from error
    if address.is_multicast or address.is_reserved:
        raise Invalid(f"{text} is no address of a host")
