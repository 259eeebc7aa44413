"""Choosing subnets and addresses. Pure: what is taken comes in, what was chosen goes out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    NetmaskValueError,
    collapse_addresses,
)

from wirt.errors import Exhausted, Invalid

POOL = ("10.210.0.0/15", "172.30.0.0/16", "192.168.208.0/20")
"""Where subnets are cut from unless the user names one, first fit (RFC 1918)."""

SUBNET_PREFIX = 24
DEFAULT_PREFIX = 22
"""Of the default network: a Linux bridge has 1,023 ports, so more addresses would be no use."""

_SMALLEST = 30
_LARGEST = 8


def parse_subnet(text: str) -> IPv4Network:
    """The network of ``"10.20.0.0/24"``. Raises Invalid, also for host bits and odd sizes."""
    try:
        subnet = IPv4Network(text, strict=False)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise Invalid(
            f"invalid subnet {text[:80]!r}",
            hint="write an IPv4 network as 10.20.0.0/24; IPv6 networks are not known",
            code="network.subnet",
        ) from error
    if "/" not in text or str(subnet.network_address) != text.partition("/")[0]:
        raise Invalid(
            f"invalid subnet {text[:80]!r}: it does not begin at a network's address",
            hint=f"write {subnet}" if "/" in text else "add the prefix length, as /24",
            code="network.subnet",
        )
    if not _LARGEST <= subnet.prefixlen <= _SMALLEST:
        raise Invalid(
            f"subnet {subnet} is too {'small' if subnet.prefixlen > _SMALLEST else 'large'}",
            hint=f"a prefix is from /{_LARGEST} to /{_SMALLEST}",
            code="network.subnet",
        )
    if _special(subnet):
        raise Invalid(
            f"subnet {subnet} has a special meaning and cannot be used",
            hint="take one of the private ranges, as 10.20.0.0/24",
            code="network.subnet",
        )
    return subnet


def _special(subnet: IPv4Network) -> bool:
    return (
        subnet.is_multicast
        or subnet.is_loopback
        or subnet.is_link_local
        or subnet.is_reserved
        or subnet.overlaps(IPv4Network("0.0.0.0/8"))
    )


def parse_address(text: str, what: str) -> IPv4Address:
    """An IPv4 address. Raises Invalid naming ``what`` it was to be."""
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise Invalid(
            f"invalid {what} {text[:80]!r}", hint="write an IPv4 address as 10.20.0.5"
        ) from error


def choose_subnet(
    taken: Iterable[str], *, prefix: int = SUBNET_PREFIX, pool: Sequence[str] = POOL
) -> IPv4Network:
    """The first subnet of the pool that overlaps none of ``taken`` (CIDR). Raises Exhausted."""
    others = [IPv4Network(text, strict=False) for text in taken]
    for text in pool:
        subnet = _first_free(IPv4Network(text), prefix, others)
        if subnet is not None:
            return subnet
    raise Exhausted(
        "there is no free subnet left for another network",
        hint="remove networks (wirt network prune), or name a subnet with --subnet",
        code="network.no-subnet",
    )


def _first_free(
    pool: IPv4Network, prefix: int, others: Iterable[IPv4Network]
) -> IPv4Network | None:
    if prefix < pool.prefixlen:
        return None
    step = 1 << (32 - prefix)
    at = int(pool.network_address)
    end = int(pool.broadcast_address)
    for other in collapse_addresses(o for o in others if o.overlaps(pool)):
        first, last = int(other.network_address), int(other.broadcast_address)
        if at + step - 1 < first:
            break
        if last >= at:
            at = (last // step + 1) * step
    return IPv4Network((at, prefix)) if at + step - 1 <= end else None


def check_overlap(
    subnet: IPv4Network, networks: Iterable[tuple[str, str]], routes: Iterable[str]
) -> None:
    """Raise Invalid when ``subnet`` overlaps another network (name, CIDR) or a host's route."""
    for name, text in networks:
        if subnet.overlaps(IPv4Network(text)):
            raise Invalid(
                f"subnet {subnet} overlaps that of network {name!r}, {text}",
                hint="name another subnet, or leave it out to get a free one",
                code="network.overlap",
            )
    for text in routes:
        if subnet.overlaps(IPv4Network(text, strict=False)):
            raise Invalid(
                f"subnet {subnet} overlaps {text}, to which this host has a route",
                hint="name another subnet, or leave it out to get a free one",
                code="network.overlap",
            )


def gateway_of(subnet: IPv4Network, wish: str = "") -> IPv4Address:
    """The address of the host: the wished one, or the first. Raises Invalid."""
    if not wish:
        return subnet.network_address + 1
    gateway = parse_address(wish, "gateway")
    _check_inside(gateway, subnet, "gateway")
    return gateway


def choose_address(
    subnet: IPv4Network, taken: Collection[str], *, gateway: str, wish: str | None = None
) -> IPv4Address:
    """The wished address, or the lowest free one.

    Raises Invalid for one that is not in the subnet, Invalid (``network.address-taken``) for one
    that a guest or the host has, Exhausted when there is none left.
    """
    if wish:
        address = parse_address(wish, "address")
        _check_inside(address, subnet, "address")
        if str(address) == gateway or str(address) in taken:
            owner = "the gateway" if str(address) == gateway else "another guest"
            raise Invalid(
                f"address {address} belongs to {owner}",
                hint="choose another address, or leave it out to get a free one",
                code="network.address-taken",
            )
        return address
    used = {int(IPv4Address(text)) for text in taken} | {int(IPv4Address(gateway))}
    for number in range(int(subnet.network_address) + 1, int(subnet.broadcast_address)):
        if number not in used:
            return IPv4Address(number)
    raise Exhausted(
        f"there is no free address left in {subnet}",
        hint="remove guests, or make a network with a larger subnet",
        code="network.no-address",
    )


def mac_of(address: IPv4Address) -> str:
    """The hardware address that belongs to an address: locally administered, ``02:42:`` and the
    four bytes. An address that moves to another guest keeps its MAC, so no cache goes stale."""
    return (b"\x02\x42" + address.packed).hex(":")


def check_mac(text: str) -> str:
    """A MAC in lower case. Raises Invalid unless it is one of a single card (not multicast)."""
    parts = text.lower().replace("-", ":").split(":")
    good = len(parts) == 6 and all(
        len(part) == 2 and set(part) <= set("0123456789abcdef") for part in parts
    )
    if not good or int(parts[0], 16) & 1 or not int("".join(parts), 16):
        raise Invalid(f"invalid MAC address {text[:40]!r}", hint="write it as 02:42:0a:d2:00:05")
    return ":".join(parts)


def _check_inside(address: IPv4Address, subnet: IPv4Network, what: str) -> None:
    if address not in subnet or address in {subnet.network_address, subnet.broadcast_address}:
        raise Invalid(
            f"{what} {address} is no host's address in {subnet}",
            hint=f"choose one from {subnet[1]} to {subnet[-2]}",
            code="network.address",
        )
