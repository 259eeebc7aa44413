"""What EXPOSE may say: ``80``, ``53/udp``, ``8000-8010/tcp``; docker reads mappings too."""

from __future__ import annotations

import ipaddress
import re

from wirt.image.build.dockerfile.problem import Wrong, show

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
PROTOCOLS = ("tcp", "udp", "sctp")
MAX_PORTS = 16_384
"""Ports of one EXPOSE; each becomes a line of the image's configuration."""
MAX_OF_A_STAGE = 65_536
"""Ports of all EXPOSE of a stage and what it is based on, each counted as often as it is named."""


def parse(text: str) -> list[str]:
    """Every port of one word as ``80/tcp``. Raises Wrong.

    ``[address:][host port:]port`` is read for old files' sake; only the last part counts.
    """
    host, _, last = text.rpartition(":")
    if host:
        _mapping(host, text)
    numbers, slash, protocol = last.partition("/")
    protocol = protocol.lower() if slash and protocol else "tcp"
    if protocol not in PROTOCOLS:
        raise Wrong(
            f"the port {show(text)} has no protocol that is known",
            word=text,
            hint="expected /tcp, /udp or /sctp",
        )
    first, end = _range(numbers, text)
    if end - first >= MAX_PORTS:
        raise Wrong(
            f"{show(text)} are {end - first + 1} ports",
            word=text,
            hint=f"one EXPOSE may have {MAX_PORTS}; it opens nothing, it only tells",
        )
    return [f"{number}/{protocol}" for number in range(first, end + 1)]


def is_mapping(text: str) -> bool:
    """Whether an address or a port of the host is named, which EXPOSE has no use for."""
    return ":" in text


def _mapping(host: str, text: str) -> None:
    address, _, port = host.rpartition(":")
    if port:
        _range(port, text)
    if address:
        try:
            ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
        except ValueError:
            raise Wrong(f"{show(address)} in {show(text)} is no address", word=text) from None


def _range(numbers: str, text: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(numbers)
    first = int(match[1]) if match else -1
    last = int(match[2] or match[1]) if match else -1
    if not 0 <= first <= last <= 65535:
        raise Wrong(
            f"{show(text)} is no port",
            word=text,
            hint="expected a number up to 65535 or a range, as 80, 53/udp, 8000-8010",
        )
    return first, last
