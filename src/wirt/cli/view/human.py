"""Figures for people: ages, sizes, short ids, and docker's one-line texts."""

from __future__ import annotations

import time

_STEPS = (
    (60 * 10**9, 10**9, "second"),
    (3600 * 10**9, 60 * 10**9, "minute"),
    (48 * 3600 * 10**9, 3600 * 10**9, "hour"),
    (14 * 86400 * 10**9, 86400 * 10**9, "day"),
    (60 * 86400 * 10**9, 7 * 86400 * 10**9, "week"),
    (730 * 86400 * 10**9, 30 * 86400 * 10**9, "month"),
)
_YEAR = 365 * 86400 * 10**9


def span(nanoseconds: int) -> str:
    """``3 minutes``, ``About an hour``: rounded down, one unit."""
    if nanoseconds < 10**9:
        return "Less than a second"
    for limit, unit, name in _STEPS:
        if nanoseconds < limit:
            count = nanoseconds // unit
            if count == 1 and name in {"minute", "hour"}:
                return f"About {'an' if name == 'hour' else 'a'} {name}"
            return f"{count} {name}{'s' * (count != 1)}"
    count = nanoseconds // _YEAR
    return f"{count} year{'s' * (count != 1)}"


def ago(moment: int, now: int | None = None) -> str:
    """``3 minutes ago`` of Unix nanoseconds; ``N/A`` for 0."""
    if not moment:
        return "N/A"
    return f"{span(max(0, (time.time_ns() if now is None else now) - moment))} ago"


def timestamp(moment: int) -> str:
    """``2026-01-31 12:00:00 +0100 CET`` in the local zone; ``N/A`` for 0."""
    if not moment:
        return "N/A"
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(moment // 10**9))


def rfc3339(moment: int) -> str:
    """RFC 3339 in UTC with nine digits of a second, as docker writes it."""
    return (
        f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment // 10**9))}.{moment % 10**9:09d}Z"
    )


def decimal_size(size: float) -> str:
    """Powers of 1000 with three digits, as docker's tables: ``4.26MB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.3g}{unit}"
        size /= 1000
    return f"{size:.3g}PB"


def binary_size(size: float) -> str:
    """Powers of 1024 with up to four digits: ``1.5MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            return f"{size:.4g}{unit}"
        size /= 1024
    return f"{size:.4g}PiB"


def short(identifier: str) -> str:
    """The first 12 digits of an id, without ``sha256:``."""
    return identifier.removeprefix("sha256:")[:12]


def command(words: str | list[str], *, cut: bool) -> str:
    """The command in quotes, at most 20 characters of it when ``cut``."""
    text = words if isinstance(words, str) else " ".join(words)
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    if cut and len(text) > 20:
        text = text[:19] + "…"
    return f'"{text}"'


def ports(maps: list[dict[str, object]]) -> str:
    """Docker's PORTS column: neighbouring ports of one address are joined to ranges."""
    rows = sorted(
        (
            str(one.get("host_ip") or ""),
            str(one.get("protocol") or "tcp"),
            _number(one, "host_port"),
            _number(one, "guest_port"),
        )
        for one in maps
    )
    joined: list[tuple[str, str, int, int, int]] = []  # address, protocol, host, guest, length
    for address, protocol, host, guest in rows:
        if joined:
            last = joined[-1]
            follows = last[:2] == (address, protocol) and guest == last[3] + last[4]
            if follows and host == (last[2] + last[4] if last[2] else 0):
                joined[-1] = (*last[:4], last[4] + 1)
                continue
        joined.append((address, protocol, host, guest, 1))
    return ", ".join(_port(*one) for one in joined)


def _number(one: dict[str, object], name: str) -> int:
    value = one.get(name) or 0
    return value if isinstance(value, int) else 0


def _port(address: str, protocol: str, host: int, guest: int, count: int) -> str:
    inside = f"{guest}" if count == 1 else f"{guest}-{guest + count - 1}"
    if not host:
        return f"{inside}/{protocol}"
    outside = f"{host}" if count == 1 else f"{host}-{host + count - 1}"
    where = f"[{address}]" if ":" in address else address or "0.0.0.0"  # noqa: S104 - shown, not bound
    return f"{where}:{outside}->{inside}/{protocol}"
