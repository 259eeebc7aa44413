"""Tap interfaces: a machine's network card is a descriptor (tun(4), linux/if_tun.h)."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

from wirt.privileged.links import check_name, set_link
from wirt.privileged.netlink import Netlink

_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_IFF_TUN_EXCL: Final = 0x8000
_IFREQ: Final = struct.Struct("=16sH22x")


def open_tap(
    netlink: Netlink, *, name: str, bridge: str, mtu: int, alias: str, isolated: bool = False
) -> int:
    """A new tap interface as a port of ``bridge``, up; it vanishes with its last descriptor.

    The descriptor is close-on-exec. Frames carry a virtio header (``IFF_VNET_HDR``), which QEMU
    finds out by itself. The interface is made in the namespace of the calling thread, so
    ``netlink`` must belong to the same. Raises OSError naming what was asked for.
    """
    asked = f"open tap {name} on bridge {bridge}"
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | _IFF_TUN_EXCL
    request = _IFREQ.pack(check_name(name).encode(), flags)
    try:
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"{asked}: /dev/net/tun: {error.strerror}") from error
    try:
        try:
            fcntl.ioctl(tap, _TUNSETIFF, request)
        except OSError as error:
            raise OSError(error.errno, f"{asked}: {error.strerror}") from error
        set_link(netlink, name=name, mtu=mtu, alias=alias, master=bridge)
        set_link(netlink, name=name, up=True, hairpin=True, isolated=isolated)
    except BaseException:
        os.close(tap)
        raise
    return tap
