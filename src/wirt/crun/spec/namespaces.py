"""The ``namespaces`` list and the mapping of a private user namespace."""

from __future__ import annotations

from wirt.crun.spec.process import Json

IDS = 65_536
"""Size of a private user namespace."""

NETWORK = "/proc/self/ns/net"
"""crun's own network namespace: the one the launch child made (decision 2).

Named by path although it is inherited anyway, since crun sets ``net.*`` sysctls only for a
container whose list of namespaces has a network one.
"""


def namespaces(*, private_network: bool, user: str = "") -> list[Json]:
    """What a container has of its own.

    ``private_network``: not the host's network. ``user``: path of a user namespace to join (made by
    the launch child together with the network namespace, so that it owns the latter), or empty.
    """
    made: list[Json] = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "cgroup")]
    if private_network:
        made.append({"type": "network", "path": NETWORK})
    if user:
        made.append({"type": "user", "path": user})
    return made


def id_mappings(first: int) -> list[Json]:
    """Ids 0-65535 of the container are ``first`` and following on the host."""
    return [{"containerID": 0, "hostID": first, "size": IDS}]
