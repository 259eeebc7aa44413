"""Which names exist on a network, and what they mean to whom. Pure.

A name is looked up for an *asker*: a guest sees the names of all networks that it is on, the one
it asks on first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wirt.model.guest import Guest, GuestState
from wirt.model.names import short
from wirt.model.network import Endpoint

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?", re.ASCII)
HOST_NAMES = ("host.wirt.internal", "host.docker.internal")
"""Names of the host itself, seen from a guest: the gateway of its network."""


def names_for(
    *, guest_id: str, name: str, hostname: str = "", aliases: Iterable[str] = ()
) -> tuple[str, ...]:
    """Every name of a guest on one network: its name, host name, aliases and short id.

    Lower case, without repetition; names that the DNS cannot carry are left out.
    """
    wanted = (name, hostname, *aliases, short(guest_id))
    lowered = (text.lower().rstrip(".") for text in wanted)
    return tuple(dict.fromkeys(text for text in lowered if _LABEL.fullmatch(text)))


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one asker sees. ``forward``: unknown names may be asked for outside.

    ``endpoints`` of running guests, those of the network asked on first; ``host``: the gateway's
    address; ``upstreams``: the asker's own resolvers, empty for the host's.
    """

    endpoints: tuple[Endpoint, ...]
    host: str
    forward: bool
    upstreams: tuple[str, ...] = ()

    def addresses(self, name: str) -> tuple[str, ...] | None:
        """The addresses of a name (lower case, no final dot), None when it is not known here.

        ``NAME.NETWORK`` means the name on that network only. When several networks know a name,
        the first one's addresses are the answer.
        """
        if name in HOST_NAMES:
            return (self.host,)
        plain = [endpoint for endpoint in self.endpoints if name in endpoint.names]
        if plain:
            first = plain[0].network_id
            return tuple(e.address for e in plain if e.network_id == first)
        found = tuple(e.address for e in self.endpoints if _qualified(name, e))
        return found or None

    def name_of(self, address: str) -> str | None:
        """The name of a guest with this address (``NAME.NETWORK``), None when there is none."""
        for endpoint in self.endpoints:
            if endpoint.address == address and endpoint.names:
                return f"{endpoint.names[0]}.{endpoint.network.lower()}"
        return None


def _qualified(name: str, endpoint: Endpoint) -> bool:
    head = name.removesuffix(f".{endpoint.network.lower()}")
    return head != name and head in endpoint.names


def view(
    guests: Iterable[Guest],
    *,
    network_id: str,
    asker: str,
    gateway: str,
    internal: frozenset[str],
) -> View:
    """What the guest with address ``asker`` on a network sees.

    ``internal``: ids of the networks without a way out. An asker that is no guest sees only the
    network it asks on.
    """
    running = [guest for guest in guests if guest.status.state in _UP]
    me = next((g for g in running if _lives_at(g, network_id, asker)), None)
    mine = [network_id]
    if me is not None:
        mine += [e.network_id for e in me.endpoints if e.network_id != network_id]
    return View(
        endpoints=tuple(_endpoints(running, mine)),
        host=gateway,
        forward=any(known not in internal for known in mine),
        upstreams=me.spec.dns if me is not None else (),
    )


_UP = frozenset({GuestState.RUNNING, GuestState.PAUSED})


def _lives_at(guest: Guest, network_id: str, address: str) -> bool:
    return any(e.network_id == network_id and e.address == address for e in guest.endpoints)


def _endpoints(guests: list[Guest], networks: list[str]) -> Iterator[Endpoint]:
    for network_id in networks:
        for guest in guests:
            yield from (e for e in guest.endpoints if e.network_id == network_id)
