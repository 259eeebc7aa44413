"""Who has nothing to do: from what is seen of a guest in each tick to how long it is calm. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wirt.governor.observe import Seen

SMOOTH = 5.0
"""Seconds over which the use of processors is smoothed, so that a guest's own clock, which ticks
now and then, is no work."""
CPU = 10.0
"""Millicores; a guest that uses less has nothing to do."""
BURST = 10 * CPU
"""Millicores that are work even when they last for one tick only."""
TRAFFIC = 3_200
"""Bits in one tick: a request and its answer have more, a lone question who has an address less."""
REFAULTS = 60.0
"""Pages a second that it reads again: it needs what it had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calm:
    """``cpu``: millicores, smoothed; None: not yet seen. ``seconds`` without work."""

    cpu: float | None = None
    seconds: float = 0.0


def look(before: Calm, seen: Seen, seconds: float, *, emulated: float = 1.0) -> Calm:
    """After a tick of so many ``seconds``. What is not known counts as work.

    ``emulated``: how many times more a processor has to do for the same work.
    """
    if seen.cpu is None or seen.blind:
        return Calm()
    gain = 1 - math.exp(-max(seconds, 0.0) / SMOOTH)
    cpu = seen.cpu if before.cpu is None else before.cpu + gain * (seen.cpu - before.cpu)
    traffic = ((seen.net_in or 0) + (seen.net_out or 0)) * seconds
    works = (
        cpu >= CPU * emulated
        or seen.cpu >= BURST * emulated
        or traffic >= TRAFFIC
        or (seen.refaults or 0.0) >= REFAULTS
        or seen.under_oom
    )
    return Calm(cpu=cpu, seconds=0.0 if works else before.seconds + seconds)
