"""Networks, a guest's attachment to them, and published ports."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_NETWORK = "bridge"
"""Name of the network that guests join when none is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A bridge network. ``subnet`` is CIDR (``"10.210.0.0/24"``), ``gateway`` its address here.

    ``bridge``: name of the host interface (at most 15 characters). ``internal``: no way out.
    ``created_at``: Unix time in nanoseconds.
    """

    id: str
    name: str
    bridge: str
    subnet: str
    gateway: str
    internal: bool = False
    mtu: int = 1500
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    created_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A guest's wish to be on a network: by name, with aliases and perhaps a fixed address."""

    network: str
    aliases: tuple[str, ...] = ()
    address: str | None = None
    mac: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A guest's real place on a network, kept while the guest exists.

    ``address``: IPv4 without prefix; ``prefix``: its length; ``interface``: name inside the guest.
    ``names``: every name that resolves to it on this network, lower case.
    """

    network_id: str
    network: str
    address: str
    prefix: int
    gateway: str
    mac: str
    interface: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMap:
    """One published port: ``host_ip:host_port`` to ``guest_port``.

    ``host_ip`` empty means all addresses; ``host_port`` 0 asks for a free one (chosen at start,
    from 32768..60999 or the range ``host_port_end`` ends). ``protocol`` is ``tcp`` or ``udp``.
    """

    guest_port: int
    host_port: int = 0
    host_port_end: int = 0
    host_ip: str = ""
    protocol: str = "tcp"
