"""Numbers people write with units ("512m", "1.5"), parsed once, here.

Sizes become bytes, CPUs millicores, rates bits a second, durations nanoseconds, each a plain
``int``.
"""

from __future__ import annotations

import re
from functools import lru_cache

from wirt.errors import Invalid

_SIZE = re.compile(r"(\d{1,18})(?:\.(\d{1,6}))?\s*([kmgtp]?)i?b?", re.IGNORECASE | re.ASCII)
_RATE = re.compile(
    r"(\d{1,18})(?:\.(\d{1,6}))?\s*([kmgtp]?)(?:bit|bps|bit/s)?", re.IGNORECASE | re.ASCII
)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_MAX_SIZE = 2**62
_CPUS = re.compile(r"(\d{1,6})(?:\.(\d{1,9}))?", re.ASCII)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9,
    "h": 3600 * 10**9,
}  # fmt: skip
_MAX_DURATION = 2**62


def parse_size(text: str) -> int:
    """Bytes of ``"512m"``, ``"1.5g"``, ``"4096"``; units are powers of 1024 as in docker.

    Raises :class:`Invalid` for anything else, also for sizes of 4 EiB and more.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise Invalid(f"invalid size {text!r}", hint="write a number with b, k, m or g, as 512m")
    whole, fraction, unit = match.groups()
    scale: int = 1024 ** _POWER[unit.lower()]
    size = int(whole) * scale
    if fraction:
        size += int(fraction) * scale // 10 ** len(fraction)
    if size > _MAX_SIZE:
        raise Invalid(f"size {text!r} is too large", hint="the largest size is 4 EiB")
    return size


def format_size(size: int) -> str:
    """A size in bytes for people, with three digits: ``"1.5MiB"``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{value:.4g}{unit}"
        value /= 1024
    raise AssertionError


def parse_cpus(text: str) -> int:
    """Millicores of ``"1.5"``; 0 to 999,999,999.

    Raises :class:`Invalid`, also for less than a millicore: what was asked for is not silently
    nothing.
    """
    match = _CPUS.fullmatch(text.strip())
    if match is None:
        raise Invalid(f"invalid number of CPUs {text!r}", hint="write a decimal number, as 1.5")
    whole, fraction = match.groups()
    millicores = int(whole) * 1000 + int(((fraction or "") + "000")[:3])
    typed = int(whole) or int(fraction or "0")
    if typed and not millicores:
        raise Invalid(f"{text!r} CPUs are none", hint="the smallest share is 0.001")
    return millicores


def parse_rate(text: str) -> int:
    """Bits a second of ``"50m"``, ``"1.5gbit"``, ``"64000"``; units are powers of 1000.

    Raises :class:`Invalid` for anything else, also above 4 Ebit/s.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise Invalid(f"invalid rate {text!r}", hint="write bits a second with k, m or g, as 50m")
    whole, fraction, unit = match.groups()
    scale: int = 1000 ** _POWER[unit.lower()]
    rate = int(whole) * scale
    if fraction:
        rate += int(fraction) * scale // 10 ** len(fraction)
    if rate > _MAX_SIZE:
        raise Invalid(f"rate {text!r} is too large", hint="the largest is 4 Ebit/s")
    return rate


@lru_cache(maxsize=64)
def parse_duration(text: str) -> int:
    """Nanoseconds of ``"1h30m"``, ``"250ms"``, or of a bare number of seconds."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        text += "s"
    if not _DURATION.fullmatch(text):
        raise Invalid(f"invalid duration {text!r}", hint="write a number with a unit, as 1m30s")
    total = 0
    for number, unit in _DURATION_PART.findall(text):
        whole, _, fraction = number.partition(".")
        scale = _NANOSECONDS[unit]
        total += int(whole) * scale
        if fraction:
            total += int(fraction) * scale // 10 ** len(fraction)
    if total > _MAX_DURATION:
        raise Invalid(f"duration {text!r} is too long", hint="write at most 1000000h")
    return total
