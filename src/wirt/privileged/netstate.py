"""``net.json`` in a running guest's run directory: its cards and published ports.

The helper writes it at launch; whoever has to rebuild bridges or the nftables table reads it. It
vanishes with the run directory, so it never speaks of a guest that does not run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from wirt.layout import Layout
from wirt.model.network import PortMap
from wirt.privileged.protocol import LinkPlan

FILE = "net.json"


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One network card. ``host``: the interface on the host (veth or tap), a port of a bridge."""

    host: str
    link: LinkPlan


class NetState(msgspec.Struct, frozen=True, kw_only=True):
    """``address``: IPv4 that published ports lead to, empty when there is none.

    ``ports``: those really published; their ``host_port`` is never 0.
    """

    cards: tuple[Card, ...] = ()
    address: str = ""
    ports: tuple[PortMap, ...] = ()


_DECODER = msgspec.json.Decoder(NetState)
"""Made once, before there are children."""


def publish_address(links: tuple[LinkPlan, ...]) -> str:
    """The address that published ports lead to: the first card with a way out, else empty.

    A card on an internal network has no gateway, and ports are not published there.
    """
    for link in links:
        if link.gateway:
            return link.address.partition("/")[0]
    return ""


def write(directory: Path, state: NetState) -> None:
    """Replace ``net.json`` at once: a reader sees the old or the new one. Raises OSError."""
    temporary = directory / (FILE + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(state))
    temporary.rename(directory / FILE)


def read(directory: Path) -> NetState:
    """The state of one guest; an empty one when there is no file or it is broken."""
    try:
        return _DECODER.decode((directory / FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return NetState()


def running(layout: Layout) -> Iterator[tuple[str, NetState]]:
    """Id and state of every guest that has a run directory, in order of the ids."""
    try:
        directories = sorted((layout.run / "g").iterdir())
    except FileNotFoundError:
        return
    for directory in directories:
        yield directory.name, read(directory)
