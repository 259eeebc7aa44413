"""The idle tax: from whom memory is taken while others need it, and how much of it.

No more is taken than is lacking, and first where memory does the least work: who computes little
for what it holds, beside the others, is presumed to hold idle memory, until it asks for it back.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Mapping

from wirt.governor.estimate import AHEAD, Estimate, Tuning, held, need_of, swaps, work
from wirt.governor.observe import Seen
from wirt.governor.tree import Claim

IDLE = 0.5
"""Part of the usual work for a byte below which a guest's memory counts as idle."""
BUSY = 1.1
"""Times the usual work for a byte above which memory is not taken before somebody needs it."""
WORTH = 4
"""How much more a page is worth to who needs one than to who is taxed, as with a tax of 75 % (C.
Waldspurger, Memory Resource Management in VMware ESX Server, 5.2)."""


def taxed(
    estimates: Mapping[str, Estimate],
    seen: Mapping[str, Seen],
    claims: Mapping[str, Claim],
    *,
    capacity: int,
    mean: float,
    pressing: bool,
    tuning: Tuning,
) -> dict[str, int]:
    """Bytes that those who are taxed are thought to need afterwards. ``mean``: the usual work;
    ``pressing``: somebody is hungry, or was a moment ago."""
    lacks = _lacks(estimates, seen, claims, capacity, tuning) if pressing else {}
    if max(lacks.values(), default=0) > 0:
        sorry = {n: estimates[n].sorry for n in seen}
        return _take(estimates, seen, claims, lacks, sorry, early=False, tuning=tuning)
    lacks = _rooms(estimates, seen, capacity, mean, tuning)
    calm = {n: 0 for n in lacks if not estimates[n].sorry}
    return _take(estimates, seen, claims, lacks, calm, early=True, tuning=tuning)


def _lacks(
    estimates: Mapping[str, Estimate],
    seen: Mapping[str, Seen],
    claims: Mapping[str, Claim],
    capacity: int,
    tuning: Tuning,
) -> dict[str, int]:
    """Bytes that are lacking, as each is to see it: who grows or is hungry counts, above what is
    promised to it, only for those who hold more than a :data:`WORTH` of that for their shares."""
    prices = {n: claims[n].shares / max(held(seen[n]), 1) for n in seen}
    base = -int(tuning.tight * capacity)
    more: list[tuple[float, int]] = []
    for name in seen:
        wanted = need_of(estimates[name], claims[name], tuning)
        least = wanted if estimates[name].calm else min(wanted, claims[name].reservation)
        base += least
        more.append((prices[name], wanted - least))
    more.sort()
    above = [*itertools.accumulate((amount for _, amount in reversed(more)), initial=0)]
    steps = [price for price, _ in more]
    return {n: base + above[len(more) - bisect_right(steps, prices[n] / WORTH)] for n in seen}


def _rooms(
    estimates: Mapping[str, Estimate],
    seen: Mapping[str, Seen],
    capacity: int,
    mean: float,
    tuning: Tuning,
) -> dict[str, int]:
    """Bytes of room that are still to be made before anybody is hungry: more of it of memory that
    does little work."""
    use = sum(map(held, seen.values()))
    growth = sum(int(AHEAD * estimates[n].growth) for n in seen)
    room = use + growth - int((1 - tuning.buffer) * capacity)
    works = {n: work(estimates[n], seen[n]) for n in seen}
    rooms = dict.fromkeys((n for n, one in works.items() if one <= BUSY * mean), room)
    for name in rooms:
        if works[name] < IDLE * mean:
            part = tuning.easy_room if swaps(seen[name]) else tuning.room
            rooms[name] = max(room, use - int((1 - part) * capacity))
    return rooms


def _take(
    estimates: Mapping[str, Estimate],
    seen: Mapping[str, Seen],
    claims: Mapping[str, Claim],
    lacks: Mapping[str, int],
    sorry: Mapping[str, int],
    *,
    early: bool,
    tuning: Tuning,
) -> dict[str, int]:
    """Take a part of what the calm ones among those in ``sorry`` use, one after another, until
    nothing is lacking. ``sorry``: how often each is to be taxed half as hard; ``early``: nobody is
    hungry yet."""
    made: dict[str, int] = {}
    given = 0
    for name in sorted(sorry, key=lambda n: (work(estimates[n], seen[n]), -estimates[n].calm, n)):
        now, guest = estimates[name], seen[name]
        lack = lacks[name] - given
        if lack <= 0 or guest.blind or now.calm <= tuning.patience << sorry[name]:
            continue
        use = held(guest)
        part = tuning.tax * (_early(guest, tuning) if early else 1.0)
        kept = min(guest.anon or 0, use)
        least = int(min(now.memory, use) * (1 - part / (1 << sorry[name])))
        memory = max(least, kept, now.memory - int(lack / (1 + tuning.headroom)))
        before = need_of(now, claims[name], tuning)
        if memory < now.memory and before > claims[name].reservation:
            made[name] = memory
            given += before - need_of(now.changed(memory=memory), claims[name], tuning)
    return made


def _early(guest: Seen, tuning: Tuning) -> float:
    return tuning.easy_early if swaps(guest) else tuning.early
