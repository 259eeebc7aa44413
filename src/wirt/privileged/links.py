"""Bridges, veth pairs, addresses and routes: what the helper and the launch child do.

Every function takes a :class:`~wirt.privileged.netlink.Netlink` whose namespace it works in and
raises :class:`OSError` naming what was asked for. Addresses are IPv4, in CIDR form where they have
a prefix; MACs are ``02:42:0a:d2:00:02``; MTUs are bytes.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Final

from wirt.privileged.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Netlink,
    attribute,
    attributes,
    nested,
)

_NEWLINK: Final = 16
_DELLINK: Final = 17
_GETLINK: Final = 18
_NEWADDR: Final = 20
_DELADDR: Final = 21
_GETADDR: Final = 22
_NEWROUTE: Final = 24
_GETROUTE: Final = 26

_IFINFO: Final = struct.Struct("=BxHiII")
_IFADDR: Final = struct.Struct("=BBBBI")
_RTMSG: Final = struct.Struct("=BBBBBBBBI")

_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_MASTER: Final = 10
_IFLA_TXQLEN: Final = 13
_IFLA_LINKINFO: Final = 18
_IFLA_NET_NS_PID: Final = 19
_IFLA_IFALIAS: Final = 20
_INFO_KIND: Final = 1
_INFO_DATA: Final = 2
_INFO_SLAVE_KIND: Final = 4
_INFO_SLAVE_DATA: Final = 5
_VETH_INFO_PEER: Final = 1
_BRPORT_MODE: Final = 4
_BRPORT_ISOLATED: Final = 33

_IFF_UP: Final = 0x1
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_BROADCAST: Final = 4
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RT_TABLE_MAIN: Final = 254
_RTPROT_STATIC: Final = 4
_RT_SCOPE_UNIVERSE: Final = 0
_RTN_UNICAST: Final = 1

_IFNAMSIZ: Final = 16
_INTERMEDIATE_QUEUE: Final = 1000
"""Frames that wait in an intermediate device, as in a real card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network interface. ``kind``: ``bridge``, ``veth``, ``tun`` or empty; ``master``: an index,
    0 when it is no bridge's port."""

    index: int
    name: str
    up: bool
    mac: str = ""
    mtu: int = 0
    master: int = 0
    kind: str = ""
    alias: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An IPv4 route of the main table; ``destination`` is CIDR, ``0.0.0.0/0`` the default."""

    destination: str
    gateway: str = ""
    interface: int = 0


def add_bridge(netlink: Netlink, *, name: str, mac: str, mtu: int, alias: str) -> None:
    """Make a bridge, down. Its MAC is fixed: otherwise it would change with its ports, and with it
    the guests' way out. Raises FileExistsError when the name is taken."""
    body = _info() + attribute(_IFLA_IFNAME, check_name(name)) + attribute(_IFLA_ADDRESS, _mac(mac))
    body += attribute(_IFLA_MTU, mtu) + nested(_IFLA_LINKINFO, attribute(_INFO_KIND, "bridge"))
    _ask(netlink, _NEWLINK, body, f"add bridge {name}", NLM_F_CREATE | NLM_F_EXCL)
    set_link(netlink, name=name, alias=alias)


def add_intermediate(netlink: Netlink, *, name: str, alias: str) -> None:
    """Make an intermediate device (``ifb``), up: others' frames are sent through its queues.

    Raises FileExistsError when the name is taken, OSError (EOPNOTSUPP) when the kernel has none.
    """
    body = _info(flags=_IFF_UP) + attribute(_IFLA_IFNAME, check_name(name))
    body += attribute(_IFLA_TXQLEN, _INTERMEDIATE_QUEUE)
    body += nested(_IFLA_LINKINFO, attribute(_INFO_KIND, "ifb"))
    _ask(netlink, _NEWLINK, body, f"add intermediate device {name}", NLM_F_CREATE | NLM_F_EXCL)
    set_link(netlink, name=name, alias=alias)


def add_veth(
    netlink: Netlink,
    *,
    host: str,
    guest: str,
    pid: int,
    bridge: str,
    mac: str,
    mtu: int,
    alias: str,
    isolated: bool = False,
) -> None:
    """Make a pair of cards: ``host`` here as a port of ``bridge``, ``guest`` in the namespace of
    process ``pid``. One message makes all of it, a second one marks the port.

    ``mac`` is the guest's. ``guest`` is still down (the kernel refuses to open it before its peer
    is known); :func:`configure` brings it up. On failure nothing is left behind.
    """
    peer = _info() + attribute(_IFLA_IFNAME, check_name(guest))
    peer += attribute(_IFLA_ADDRESS, _mac(mac)) + attribute(_IFLA_MTU, mtu)
    peer += attribute(_IFLA_NET_NS_PID, pid)
    body = (
        _info(flags=_IFF_UP) + attribute(_IFLA_IFNAME, check_name(host)) + attribute(_IFLA_MTU, mtu)
    )
    body += attribute(_IFLA_MASTER, _index(netlink, bridge, f"add veth {host}"))
    body += nested(
        _IFLA_LINKINFO,
        attribute(_INFO_KIND, "veth"),
        nested(_INFO_DATA, nested(_VETH_INFO_PEER, peer)),
    )
    asked = f"add veth {host} to bridge {bridge}, {guest} for process {pid}"
    _ask(netlink, _NEWLINK, body, asked, NLM_F_CREATE | NLM_F_EXCL)
    try:
        set_link(netlink, name=host, alias=alias, hairpin=True, isolated=isolated)
    except OSError:
        with contextlib.suppress(OSError):
            delete_link(netlink, name=host)
        raise


def set_link(
    netlink: Netlink,
    *,
    name: str,
    up: bool | None = None,
    mac: str | None = None,
    mtu: int | None = None,
    alias: str | None = None,
    rename: str | None = None,
    master: str | None = None,
    hairpin: bool | None = None,
    isolated: bool | None = None,
) -> None:
    """Change an existing interface; None leaves a property alone, ``master=""`` frees a port.

    ``hairpin`` (frames may go back out of the port they came from) and ``isolated`` (ports so
    marked do not reach each other) need an interface that is a bridge's port already.
    """
    asked = f"change interface {name}"
    flags = _IFF_UP if up else 0
    body = _info(
        index=0 if rename is None else _index(netlink, name, asked),
        flags=flags,
        change=_IFF_UP if up is not None else 0,
    )
    body += attribute(_IFLA_IFNAME, check_name(name if rename is None else rename))
    if mac is not None:
        body += attribute(_IFLA_ADDRESS, _mac(mac))
    if mtu is not None:
        body += attribute(_IFLA_MTU, mtu)
    if alias is not None:
        body += attribute(_IFLA_IFALIAS, alias.encode())
    if master is not None:
        body += attribute(_IFLA_MASTER, _index(netlink, master, asked) if master else 0)
    body += _port(hairpin, isolated)
    _ask(netlink, _NEWLINK, body, asked)


def delete_link(netlink: Netlink, *, name: str) -> None:
    """Delete an interface (of a veth pair both ends). One that is not there is no error."""
    asked = f"delete interface {name}"
    try:
        _ask(netlink, _DELLINK, _info() + attribute(_IFLA_IFNAME, check_name(name)), asked)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def unplug(netlink: Netlink, *, name: str) -> int | None:
    """Take an interface out of service at once; its number, or None when there is none.

    Whoever is behind it is not heard any more, so its address is free. To delete it takes the
    kernel some 15 ms longer (:func:`delete_unplugged`).
    """
    asked = f"unplug interface {name}"
    try:
        index = _index(netlink, name, asked)
        _ask(netlink, _NEWLINK, _info(index=index, change=_IFF_UP), asked)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return None
    return index


def delete_unplugged(netlink: Netlink, *, index: int) -> None:
    """Delete an interface by its number, which no other one gets; its name may be in use again."""
    try:
        _ask(netlink, _DELLINK, _info(index=index), f"delete interface {index}")
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def add_address(netlink: Netlink, *, interface: str, address: str) -> None:
    """Give an interface an IPv4 address with prefix and broadcast address. Idempotent."""
    asked = f"add address {address} to {interface}"
    value = IPv4Interface(address)
    body = _IFADDR.pack(
        socket.AF_INET, value.network.prefixlen, 0, 0, _index(netlink, interface, asked)
    )
    body += attribute(_IFA_LOCAL, value.packed) + attribute(_IFA_ADDRESS, value.packed)
    if value.network.prefixlen < 31:
        body += attribute(_IFA_BROADCAST, value.network.broadcast_address.packed)
    _ask(netlink, _NEWADDR, body, asked, NLM_F_CREATE | NLM_F_REPLACE)


def delete_address(netlink: Netlink, *, interface: str, address: str) -> None:
    """Take an IPv4 address (CIDR form) away from an interface."""
    asked = f"delete address {address} of {interface}"
    value = IPv4Interface(address)
    index = _index(netlink, interface, asked)
    body = _IFADDR.pack(socket.AF_INET, value.network.prefixlen, 0, 0, index)
    _ask(netlink, _DELADDR, body + attribute(_IFA_LOCAL, value.packed), asked)


def add_route(
    netlink: Netlink, *, gateway: str, interface: str = "", destination: str = "0.0.0.0/0"
) -> None:
    """Add a route to ``destination`` by ``gateway``. Raises FileExistsError if there is one."""
    asked = f"add route to {destination} by {gateway}"
    target = IPv4Interface(destination)
    length = target.network.prefixlen
    body = _RTMSG.pack(
        socket.AF_INET, length, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, _RT_SCOPE_UNIVERSE,
        _RTN_UNICAST, 0,
    )  # fmt: skip
    if length:
        body += attribute(_RTA_DST, target.network.network_address.packed)
    body += attribute(_RTA_GATEWAY, socket.inet_aton(gateway))
    if interface:
        body += attribute(_RTA_OIF, _index(netlink, interface, asked))
    _ask(netlink, _NEWROUTE, body, asked, NLM_F_CREATE | NLM_F_EXCL)


def configure(interface: str, address: str, gateway: str) -> None:
    """Inside a guest's network namespace: loopback up, the card's address, the default route.

    ``gateway`` empty means no default route. A second card's default route is left out when there
    is one already: the first network is the way out.
    """
    with Netlink() as netlink:
        set_link(netlink, name="lo", up=True)
        add_address(netlink, interface=interface, address=address)
        set_link(netlink, name=interface, up=True)
        if gateway:
            with contextlib.suppress(FileExistsError):
                add_route(netlink, gateway=gateway, interface=interface)


def links(netlink: Netlink) -> list[Link]:
    """All interfaces of the namespace."""
    return [_link(body) for body in netlink.dump(_GETLINK, _info(), asked="list interfaces")]


def addresses(netlink: Netlink) -> list[tuple[int, str]]:
    """Interface index and CIDR form of every IPv4 address."""
    body = _IFADDR.pack(socket.AF_INET, 0, 0, 0, 0)
    found = []
    for answer in netlink.dump(_GETADDR, body, asked="list addresses"):
        family, prefix, _, _, index = _IFADDR.unpack_from(answer)
        values = dict(attributes(answer[_IFADDR.size :]))
        packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
        if family == socket.AF_INET and packed:
            found.append((index, f"{socket.inet_ntoa(packed)}/{prefix}"))
    return found


def routes(netlink: Netlink) -> list[Route]:
    """The IPv4 routes of the main table."""
    body = _RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
    found = []
    for answer in netlink.dump(_GETROUTE, body, asked="list routes"):
        _, prefix, _, _, table, _, _, _, _ = _RTMSG.unpack_from(answer)
        if table != _RT_TABLE_MAIN:
            continue
        values = dict(attributes(answer[_RTMSG.size :]))
        gateway = values.get(_RTA_GATEWAY)
        found.append(
            Route(
                destination=f"{socket.inet_ntoa(values.get(_RTA_DST, bytes(4)))}/{prefix}",
                gateway=socket.inet_ntoa(gateway) if gateway else "",
                interface=int.from_bytes(values.get(_RTA_OIF, b""), sys.byteorder),
            )
        )
    return found


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(body)
    values = dict(attributes(body[_IFINFO.size :]))
    info = dict(attributes(values.get(_IFLA_LINKINFO, b"")))
    return Link(
        index=index,
        name=_text(values.get(_IFLA_IFNAME, b"")),
        up=bool(flags & _IFF_UP),
        mac=values.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=int.from_bytes(values.get(_IFLA_MTU, b""), sys.byteorder),
        master=int.from_bytes(values.get(_IFLA_MASTER, b""), sys.byteorder),
        kind=_text(info.get(_INFO_KIND, b"")),
        alias=_text(values.get(_IFLA_IFALIAS, b"")),
    )


def _port(hairpin: bool | None, isolated: bool | None) -> bytes:
    """A bridge port's properties, as an attribute of the port's own interface."""
    inner = b""
    if hairpin is not None:
        inner += attribute(_BRPORT_MODE, bytes([hairpin]))
    if isolated is not None:
        inner += attribute(_BRPORT_ISOLATED, bytes([isolated]))
    if not inner:
        return b""
    kind = attribute(_INFO_SLAVE_KIND, "bridge")
    return nested(_IFLA_LINKINFO, kind, nested(_INFO_SLAVE_DATA, inner))


def _ask(netlink: Netlink, kind: int, body: bytes, asked: str, flags: int = 0) -> None:
    netlink.request(kind, body, asked=asked, flags=flags)


def _info(*, index: int = 0, flags: int = 0, change: int | None = None) -> bytes:
    return _IFINFO.pack(socket.AF_UNSPEC, 0, index, flags, flags if change is None else change)


def _index(netlink: Netlink, name: str, asked: str) -> int:
    """The number of an interface in the socket's namespace (which need not be the caller's)."""
    asked = f"{asked}: find interface {name}"
    body = netlink.get(_GETLINK, _info() + attribute(_IFLA_IFNAME, check_name(name)), asked=asked)
    index: int = _IFINFO.unpack_from(body)[2]
    return index


def check_name(text: str) -> str:
    """The interface name itself, or OSError(EINVAL): 1 to 15 bytes, no ``/``, not ``.``."""
    if not 0 < len(text.encode()) < _IFNAMSIZ or "/" in text or text in {".", ".."}:
        raise OSError(errno.EINVAL, f"invalid interface name {text!r}: 1 to 15 characters")
    return text


def _mac(text: str) -> bytes:
    try:
        packed = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        packed = b""
    if len(packed) != 6 or packed[0] & 1:
        raise OSError(errno.EINVAL, f"invalid MAC address {text!r}")
    return packed


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
