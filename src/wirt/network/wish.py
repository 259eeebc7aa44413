"""What a network or a guest's place on one is wished to be, and whether it can be. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network

from wirt.errors import Invalid, Unsupported
from wirt.layout import Layout
from wirt.model.guest import GuestSpec
from wirt.model.names import check_name, new_id
from wirt.model.network import DEFAULT_NETWORK, Attachment, Network
from wirt.network import address as choice
from wirt.network.names import names_for

RESERVED = frozenset({"host", "none", "default", "container", "guest"})
"""Words that mean something else where a network's name is expected."""

MTU_OPTION = "com.docker.network.driver.mtu"
SMALLEST_MTU, LARGEST_MTU = 576, 65_521


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWish:
    """What a new network is to be. ``subnet`` and ``gateway`` empty: a free one, the first."""

    name: str
    subnet: str = ""
    gateway: str = ""
    internal: bool = False
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None
    mtu: int | None = None


def make_network(
    wish: NetworkWish,
    others: Sequence[Network],
    *,
    layout: Layout,
    routes: Sequence[str],
    free: Callable[[Iterable[str]], IPv4Network],
) -> Network:
    """The network for a wish, given those that exist and the host's routes. Pure."""
    if wish.subnet:
        subnet = choice.parse_subnet(wish.subnet)
        choice.check_overlap(subnet, [(n.name, n.subnet) for n in others], routes)
    else:
        subnet = free([*(n.subnet for n in others), *routes])
    used = {n.bridge for n in others}
    numbered = (f"{layout.name}-{number}" for number in range(1, len(others) + 2))
    default = wish.name == DEFAULT_NETWORK
    return Network(
        id=new_id(),
        name=wish.name,
        bridge=layout.default_bridge if default else next(b for b in numbered if b not in used),
        subnet=str(subnet),
        gateway=str(choice.gateway_of(subnet, wish.gateway)),
        internal=wish.internal,
        mtu=_mtu(wish),
        labels=dict(wish.labels or {}),
        options=dict(wish.options or {}),
        created_at=time.time_ns(),
    )


def check_wish(wish: NetworkWish) -> None:
    """Raise Invalid or Unsupported for a network that cannot be, whatever else exists. Pure."""
    check_name(wish.name, "network")
    if wish.name in RESERVED or wish.name == DEFAULT_NETWORK:
        raise Invalid(f"network name {wish.name!r} is reserved", hint="choose another name")
    if wish.gateway and not wish.subnet:
        raise Invalid("a gateway needs a subnet", hint="give --subnet too")
    for option in wish.options or {}:
        if option != MTU_OPTION:
            raise Unsupported(
                f"unknown network option {option[:80]!r}", hint=f"known is {MTU_OPTION}"
            )
    _mtu(wish)


def _mtu(wish: NetworkWish) -> int:
    """Bytes of a packet: as wished, else as the option says, else 1500. Raises Invalid."""
    text = str((wish.options or {}).get(MTU_OPTION, "1500") if wish.mtu is None else wish.mtu)
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not SMALLEST_MTU <= number <= LARGEST_MTU:
        raise Invalid(f"MTU {text[:20]} is not in {SMALLEST_MTU}..{LARGEST_MTU} bytes")
    return number


def check_attachment(wish: Attachment) -> Attachment:
    """The wish itself when its aliases and addresses can be. Raises Invalid."""
    for alias in wish.aliases:
        if not names_for(guest_id="", name=alias):
            raise Invalid(f"invalid alias {alias[:80]!r}", hint="an alias is a host name")
    if wish.address:
        choice.parse_address(wish.address, "address")
    if wish.mac:
        choice.check_mac(wish.mac)
    return replace(wish, address=wish.address or None)


def check_mode(spec: GuestSpec) -> None:
    """Raise Invalid for ports or networks of a guest that has no network of its own."""
    mode = spec.network_mode
    kind, _, owner = mode.partition(":")
    if mode not in {"none", "host"} and not (kind == "guest" and owner):
        raise Invalid(
            f"unknown network mode {mode[:80]!r}", hint="none, host and guest:NAME are known"
        )
    if spec.attachments:
        raise Invalid(f"a guest with network mode {kind!r} is on no other network")
    if spec.ports or spec.publish_all:
        hint = "its ports are the host's own" if mode == "host" else "leave -p out"
        raise Invalid(f"ports cannot be published with network mode {kind!r}", hint=hint)
