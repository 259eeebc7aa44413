"""From two readings of a guest to what was seen of it in between. Pure.

A counter that runs backwards, or further than any can in that time, was another guest's, or the
kernel's mistake: nothing is concluded from it, and the guest is blind for this tick.
"""

from __future__ import annotations

from wirt.governor.observe import Seen
from wirt.model.reading import Reading

_SECOND = 1_000_000_000
MOST_PAGES = 1e8
"""Pages that a guest can read again in a second at most: 400 GB. More is no rate, but an error."""
_MOST = 1e13
"""Likewise nanoseconds of processors, and bytes of disks and cards: of ten thousand of them."""
PAGE = 4096


def seen(before: Reading | None, now: Reading, *, revocable: int = 0, cards: bool = True) -> Seen:
    """What is known after ``now``; without a reading before it there are sizes but no rates.

    ``revocable``: bytes that could be taken from it now. ``cards``: whether its network cards are
    looked at.
    """
    kept = None if now.memory is None else max(now.memory - revocable, 0)
    if before is None or now.at <= before.at:
        return Seen(
            memory_limit=now.memory_limit, anon=kept, under_oom=now.under_oom, swap=now.swap
        )
    seconds = (now.at - before.at) / _SECOND
    refaults = _rate(before.refaults, now.refaults, seconds, most=MOST_PAGES)
    waits = now.under_oom or _stopped(before, now, revocable)
    return Seen(
        cpu=_scaled(_rate(before.cpu_ns, now.cpu_ns, seconds), 1000 / _SECOND),
        cpu_wait=_scaled(_rate(before.wait_ns, now.wait_ns, seconds), 1000 / _SECOND),
        memory=None if refaults is None else now.memory,
        memory_limit=now.memory_limit,
        anon=kept,
        refaults=refaults,
        under_oom=waits,
        disk=_scaled(_both(before, now, "disk_read", "disk_written", seconds), 1),
        net_in=_scaled(_rate(before.net_in, now.net_in, seconds), 8) if cards else None,
        net_out=_scaled(_rate(before.net_out, now.net_out, seconds), 8) if cards else None,
        swap=now.swap,
    )


def _stopped(before: Reading, now: Reading, revocable: int) -> bool:
    """Whether it met its limit with nothing but what cannot be taken back: it cannot go on."""
    if now.memory is None or now.memory_limit is None:
        return False
    failed = _rate(before.failures, now.failures, 1.0)
    return bool(failed) and now.memory - revocable > 0.9 * now.memory_limit


def _both(before: Reading, now: Reading, one: str, other: str, seconds: float) -> float | None:
    rates = [_rate(getattr(before, key), getattr(now, key), seconds) for key in (one, other)]
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def _rate(
    before: int | None, now: int | None, seconds: float, *, most: float = _MOST
) -> float | None:
    if before is None or now is None or now < before:
        return None
    rate = (now - before) / seconds
    return rate if rate <= most else None


def _scaled(rate: float | None, factor: float) -> int | None:
    return None if rate is None else round(rate * factor)
