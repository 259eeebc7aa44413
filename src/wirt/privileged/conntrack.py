"""Forgetting followed UDP conversations (ctnetlink: linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from typing import Final

from wirt.privileged.netlink import Netlink, attributes, nested

log = logging.getLogger("wirt.privileged")

_NETLINK_NETFILTER: Final = 12
_GET: Final = 0x101
_DELETE: Final = 0x102
_GENERIC: Final = struct.Struct("=BBH")
_TUPLE_ORIGINAL: Final = 1
_TUPLE_REPLY: Final = 2
_TUPLE_IP: Final = 1
_TUPLE_PROTOCOL: Final = 2
_SOURCE: Final = 1
_DESTINATION: Final = 2
_NUMBER: Final = 1


def forget_udp(address: str) -> None:
    """Drop the entries of UDP conversations that lead to ``address`` by a published port.

    A kernel that cannot list them is no error: the entries end by themselves, in minutes.
    """
    wanted = socket.inet_aton(address)
    family = _GENERIC.pack(socket.AF_INET, 0, 0)
    try:
        with Netlink(_NETLINK_NETFILTER) as netlink:
            for answer in netlink.dump(_GET, family, asked="list followed connections"):
                entry = dict(attributes(answer[_GENERIC.size :]))
                if _leads_to(entry, wanted):
                    with contextlib.suppress(FileNotFoundError):
                        original = nested(_TUPLE_ORIGINAL, entry[_TUPLE_ORIGINAL])
                        asked = f"forget a connection to {address}"
                        netlink.request(_DELETE, family + original, asked=asked)
    except OSError as error:
        log.warning("UDP conversations with %s may go on: %s", address, error)


def _leads_to(entry: dict[int, bytes], address: bytes) -> bool:
    """Whether replies come from ``address``, which is not whom the client wrote to."""
    protocol, _, asked = _tuple(entry.get(_TUPLE_ORIGINAL, b""))
    _, answering, _ = _tuple(entry.get(_TUPLE_REPLY, b""))
    return protocol == socket.IPPROTO_UDP and answering == address != asked


def _tuple(data: bytes) -> tuple[int, bytes, bytes]:
    """Protocol number, source and destination address of one direction."""
    parts = dict(attributes(data))
    ends = dict(attributes(parts.get(_TUPLE_IP, b"")))
    protocol = dict(attributes(parts.get(_TUPLE_PROTOCOL, b""))).get(_NUMBER, b"\0")
    return protocol[0], ends.get(_SOURCE, b""), ends.get(_DESTINATION, b"")
