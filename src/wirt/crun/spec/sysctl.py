"""Kernel parameters of a container: only those that live in its own namespaces.

Everything else below /proc/sys belongs to the host, and setting it from a container would change
the host and all other guests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from wirt.errors import Invalid, Unsupported

_NAME = re.compile(r"[a-zA-Z0-9_-]+(?:\.[a-zA-Z0-9_-]+)+", re.ASCII)
_IPC = frozenset(
    {
        "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
        "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
    }
)  # fmt: skip


def check_sysctls(wish: Mapping[str, str], *, network: str) -> None:
    """Raise for a parameter that is not the container's own. ``network``: its network mode."""
    for name, value in wish.items():
        if not _NAME.fullmatch(name) or len(name) > 255:
            raise Invalid(
                f"invalid kernel parameter {name[:80]!r}",
                hint="write NAME=VALUE, as net.core.somaxconn=1024",
            )
        if "\0" in value or "\n" in value or len(value) > 4096:
            raise Invalid(f"invalid value of the kernel parameter {name}")
        if name.startswith("net."):
            if network == "host" or network.startswith("guest:"):
                raise Invalid(
                    f"{name} cannot be set: the network is not this guest's own",
                    hint="set it where the network belongs, or use a network of its own",
                )
        elif name not in _IPC and not name.startswith("fs.mqueue."):
            raise Unsupported(
                f"{name} is not separate for each container: it would change the host",
                hint="a microvm or vm has its own kernel: use --as microvm",
            )


def sysctls(wish: Mapping[str, str], *, private_network: bool, ids: int = 2**31) -> dict[str, str]:
    """The parameters to set, docker's defaults included, where the network is the container's own.

    The defaults let any user of it bind port 80 and send pings. ``ids``: how many group ids the
    container has; the kernel refuses a range beyond them.
    """
    defaults = {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": f"0 {ids - 1}",
    }
    return {**(defaults if private_network else {}), **wish}
