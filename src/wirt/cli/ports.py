"""``-p`` and ``--network`` as :class:`wirt.model.network.PortMap` and ``Attachment`` JSON."""

from __future__ import annotations

from wirt.cli.flags import misuse
from wirt.cli.mounts import fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PORT_HINT = "write [[ADDRESS:]HOST_PORT:]GUEST_PORT[/tcp|udp], as 127.0.0.1:8080:80"
NETWORK_HINT = "write NAME, none, host, guest:NAME, or name=NAME,alias=...,ip=..."


def publish(text: str) -> list[dict[str, Any]]:
    """One ``-p``: one map per port; ``8000-8010:80`` is one map that takes a free port of ten."""
    rest, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in {"tcp", "udp"}:
        raise misuse(
            f"invalid protocol {protocol!r} in -p {text}", hint="ports are published for tcp or udp"
        )
    address, host, guest = _split(rest, text)
    guest_low, guest_high = _range(guest, text)
    host_low, host_high = _range(host, text) if host else (0, 0)
    if guest_low == 0:
        raise misuse(f"invalid port '0' in -p {text}", hint=PORT_HINT)
    base: dict[str, Any] = {"host_ip": address} if address else {}
    if protocol != "tcp":
        base["protocol"] = protocol
    count = guest_high - guest_low + 1
    if host and count == 1 and host_high > host_low:
        return [
            {"guest_port": guest_low, "host_port": host_low, "host_port_end": host_high, **base}
        ]
    if host and host_high - host_low + 1 != count:
        raise misuse(
            f"the ranges of -p {text} have different lengths",
            hint="publish as many host ports as guest ports, or one guest port to a range",
        )
    maps = []
    for offset in range(count):
        one = {"guest_port": guest_low + offset, **base}
        if host_low:
            one["host_port"] = host_low + offset
        maps.append(one)
    return maps


def _split(rest: str, text: str) -> tuple[str, str, str]:
    """Address, host ports, guest ports; the address may be IPv6 in brackets."""
    address = ""
    if rest.startswith("["):
        address, bracket, rest = rest[1:].partition("]:")
        if not bracket:
            raise misuse(f"invalid address in -p {text}", hint=PORT_HINT)
        parts = ["", *rest.split(":")]
        if len(parts) != 3:
            raise misuse(f"invalid ports in -p {text}", hint=PORT_HINT)
    else:
        parts = rest.split(":")
        if len(parts) > 3:
            raise misuse(
                f"invalid ports in -p {text}",
                hint="an IPv6 address stands in brackets, as [::1]:8080:80",
            )
        address = parts[0] if len(parts) == 3 else ""
    host, guest = ["", *parts][-2:]
    if address:
        _address(address, f"-p {text}")
    return address, host, guest


def _range(text: str, whole: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    first = _port(low, whole)
    last = _port(high, whole) if dash else first
    if last < first:
        raise misuse(f"the range {text!r} in -p {whole} runs backwards", hint=PORT_HINT)
    return first, last


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65535:
        raise misuse(f"invalid port {text!r} in -p {whole}", hint="ports are 1 to 65535")
    return int(text)


def _address(text: str, where: str) -> str:
    """An IPv4 or IPv6 address itself. Raises Invalid naming ``where`` it was typed."""
    import _socket

    family = _socket.AF_INET6 if ":" in text else _socket.AF_INET
    try:
        _socket.inet_pton(family, text)
    except (OSError, ValueError):
        raise misuse(
            f"invalid address {text!r} in {where}", hint="write an IP address, as 127.0.0.1"
        ) from None
    return text


def addresses(texts: Sequence[str], flag: str) -> list[str]:
    """Every ``--dns``, checked."""
    return [_address(text, flag) for text in texts]


def extra_hosts(texts: Sequence[str]) -> list[str]:
    """Every ``--add-host NAME:ADDRESS`` (or ``NAME=ADDRESS``) as ``name:address``."""
    made = []
    for text in texts:
        equals = "=" in text.partition(":")[0]
        name, _, address = text.partition("=" if equals else ":")
        address = address.removeprefix("[").removesuffix("]")
        if not name or not address:
            raise misuse(f"invalid value {text!r} for --add-host", hint="write NAME:ADDRESS")
        if address != "host-gateway":
            _address(address, f"--add-host {text}")
        made.append(f"{name}:{address}")
    return made


def networks(
    names: Sequence[str], *, aliases: Sequence[str], ip: str, mac: str
) -> tuple[str, list[dict[str, Any]]]:
    """``(network_mode, attachments)`` of ``--network`` and the flags that refine it."""
    attachments: list[dict[str, Any]] = []
    mode = ""
    for text in names:
        if found := _mode(text):
            mode = found
        else:
            attachments.append(_attachment(text))
    if mode and (attachments or len(names) > 1):
        raise misuse(
            f"--network {names[0]} and --network {names[1]} exclude each other",
            hint="none, host and guest:NAME stand alone",
        )
    if aliases or ip or mac:
        if mode:
            raise misuse(
                f"--network {names[0]} takes no alias, address or MAC",
                hint="name a bridge network, as --network web",
            )
        first: dict[str, Any] = attachments[0] if attachments else {"network": "bridge"}
        attachments = [first, *attachments[1:]]
        if aliases:
            first["aliases"] = [*first.get("aliases", []), *aliases]
        if ip:
            first["address"] = _address(ip, f"--ip {ip}")
        if mac:
            first["mac"] = mac
    return mode, attachments


def _mode(text: str) -> str:
    if text in {"none", "host"}:
        return text
    kind, colon, name = text.partition(":")
    if not colon or "=" in text:
        return ""
    if kind in {"container", "guest"} and name:
        return f"guest:{name}"
    raise misuse(f"invalid value {text!r} for --network", hint=NETWORK_HINT)


def _attachment(text: str) -> dict[str, Any]:
    if "=" not in text:
        if not text:
            raise misuse("empty value for --network", hint=NETWORK_HINT)
        return {"network": "bridge" if text == "default" else text}
    made: dict[str, Any] = {}
    for key, value in fields(text, "--network"):
        if key == "name":
            made["network"] = value
        elif key == "alias":
            made.setdefault("aliases", []).append(value)
        elif key == "ip":
            made["address"] = _address(value, f"--network {text}")
        elif key == "mac-address":
            made["mac"] = value
        else:
            raise misuse(f"unknown key {key!r} in --network {text}", hint=NETWORK_HINT)
    if not made.get("network"):
        raise misuse(f"--network {text} names no network", hint=NETWORK_HINT)
    return made
