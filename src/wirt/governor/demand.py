"""What guests need, estimated from what was seen: fast up, slow down, taxed when idle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from wirt.governor.estimate import AHEAD, FRESH, Estimate, Tuning, held, swaps, usual, work
from wirt.governor.observe import Seen
from wirt.governor.tax import IDLE, taxed
from wirt.governor.tree import Claim

MOST_URGENT = 20_000.0
"""Pages a second above which nobody is more urgent than others: else who reads in circles through
more than there is, from a fast disk, would make all others' need a trickle."""
MOST_REGRET = 4
"""How often the patience before the tax is doubled and the tax halved at most: 16 times."""
FADE = 0.95
"""Part of what was taken and asked back that is still remembered a tick later."""
MOSTLY = 0.8
"""Part of what was taken that who does little work must have asked back to need it: the kernel
takes first what was touched first, so that of idle memory what is in use goes, too, and returns."""
_PAGE = 4096
PRESSING = 3
"""Ticks for which somebody's hunger counts: a guest that was just fed is not sated yet."""
PACE = 0.4
"""Part of the way that the work a guest does is followed in a tick: a few ticks tell that a peak is
over."""
WORKS = 1.5
"""Times the usual work for a byte from which on a machine is thought to need what it grows by."""
FORGIVEN = 4
"""Patiences of calm after which an earlier regret no longer counts."""


class _Weighed(NamedTuple):
    """How urgently a guest needs memory; see :class:`Estimate` for each."""

    limit: int | None
    rate: float
    taken: float
    missed: float


def cpu_wants(
    before: Mapping[str, Estimate], seen: Mapping[str, Seen], tuning: Tuning
) -> dict[str, Estimate]:
    """The estimates with new CPU demand: what was used and what was waited for.

    Waiting makes demand visible that was never granted; use alone would lock a starved guest in.
    """
    after: dict[str, Estimate] = {}
    for name, guest in seen.items():
        old = before.get(name, FRESH)
        if guest.cpu is None:
            after[name] = old
            continue
        now = guest.cpu + (guest.cpu_wait or 0)
        part = tuning.cpu_up if now > old.cpu else tuning.cpu_down
        after[name] = old.changed(
            cpu=old.cpu + part * (now - old.cpu), work=old.work + PACE * (guest.cpu - old.work)
        )
    return after


def memory_wants(
    before: Mapping[str, Estimate],
    seen: Mapping[str, Seen],
    claims: Mapping[str, Claim],
    *,
    capacity: int,
    seconds: float,
    tuning: Tuning,
) -> dict[str, Estimate]:
    """The estimates with new memory demand, ``seconds`` after those before.

    Who is near its limit and grows, or reads again what it lost, is hungry, if its need is not a
    trickle beside the most urgent one's, nor beside what was just taken from it; its estimate
    grows. While memory is short, the estimate of a guest that has been calm falls: an idle tax, as
    ESX's, on a measured signal (:mod:`wirt.governor.tax`). Blind guests keep their estimates.
    """
    old = {name: before.get(name, FRESH) for name in seen}
    mean = usual(old, seen)
    asked = {n: _asked(old[n], guest, mean, tuning) for n, guest in seen.items()}
    grew = {n: _grew(old[n], guest, mean, seconds, asked[n], tuning) for n, guest in seen.items()}
    known = {n: _weighed(old[n], guest, seconds, grew[n]) for n, guest in seen.items()}
    urgent = max((min(known[n].rate, MOST_URGENT) * claims[n].shares for n in seen), default=0.0)
    hungry = {
        name: _hungry(guest, known[name], claims[name].shares, urgent, asked[name], tuning)
        for name, guest in seen.items()
    }
    pressing = any(hungry[n] or old[n].calm < PRESSING for n in seen)
    after = {
        name: old[name].changed(hungry=False)
        if guest.blind
        else _move(old[name], known[name], guest, tuning, hungry=hungry[name], grew=grew[name])
        for name, guest in seen.items()
    }
    taxes = taxed(
        after, seen, claims, capacity=capacity, mean=mean, pressing=pressing, tuning=tuning
    )
    for name, memory in taxes.items():
        after[name] = after[name].changed(memory=memory, taxed=True, lull=0)
    return after


def _weighed(old: Estimate, guest: Seen, seconds: float, grew: bool) -> _Weighed:
    """How urgently it needs memory, and how much of what was taken from it it asks back.

    Who grows needs it as much as who reads again what it lost, even before it meets its limit.
    """
    if guest.refaults is None or guest.memory is None:
        return _Weighed(guest.memory_limit, old.rate, old.taken, old.missed)
    lowered = max((old.limit or 0) - (guest.memory_limit or (1 << 62)), 0)
    lost = max(old.use - held(guest), 0)
    taken = FADE * old.taken + min(lowered, lost) / _PAGE
    grown = (held(guest) - old.use) / _PAGE if grew else 0.0
    return _Weighed(
        limit=guest.memory_limit,
        rate=(old.rate + guest.refaults + grown / max(seconds, 0.01)) / 2,
        taken=taken,
        missed=min(FADE * old.missed + guest.refaults * seconds, taken),
    )


def _near(guest: Seen, tuning: Tuning) -> bool:
    """Whether it has little room left; a machine, only some of its margin."""
    if guest.memory is None or guest.memory_limit is None:
        return False
    near = 1.0 if guest.margin else tuning.near
    return held(guest) > near * guest.memory_limit


def _asked(old: Estimate, guest: Seen, mean: float, tuning: Tuning) -> float:
    """Part of what was taken that it must have asked back to need it."""
    idle = swaps(guest) and work(old, guest) < IDLE * mean
    return MOSTLY if idle else tuning.missed


def _grew(
    old: Estimate, guest: Seen, mean: float, seconds: float, asked: float, tuning: Tuning
) -> bool:
    """Whether it needs more from now on. Machines breathe: they do when they work and have come to
    their margin. ``mean``: the usual work; ``asked``: as :func:`_asked` says."""
    growth = held(guest) - old.use
    if old.use <= 0 or growth <= 0.02 * old.use:
        return False
    if guest.margin:
        return _near(guest, tuning) and work(old, guest) > WORKS * mean
    if not swaps(guest):
        return True
    regained = (guest.refaults or 0.0) * seconds * _PAGE
    return regained < growth / 2 or old.missed >= asked * old.taken


def _hungry(
    guest: Seen, now: _Weighed, shares: int, urgent: float, asked: float, tuning: Tuning
) -> bool:
    if guest.under_oom:
        return True
    if guest.blind or not _near(guest, tuning):
        return False
    if guest.margin and (guest.refaults or 0.0) <= tuning.refaults:
        return False
    if now.rate <= tuning.refaults or now.rate * shares < tuning.ratio * urgent:
        return False
    return now.missed >= asked * now.taken


def _move(
    old: Estimate, now: _Weighed, guest: Seen, tuning: Tuning, *, hungry: bool, grew: bool
) -> Estimate:
    """Up at once; down to what it uses, and what it was taxed to for some time."""
    use = held(guest)
    growth = (old.growth + (max(use - old.use, 0) if old.use else 0)) / 2
    known = {**now._asdict(), "use": use, "growth": growth, "margin": guest.margin}
    if hungry or grew:
        missed = hungry or _near(guest, tuning)
        memory = int(use * tuning.ramp) + tuning.spare
        if not missed:
            memory = min(memory, use + int(AHEAD * growth))
        hurts = hungry if guest.margin else missed
        sorry = hurts and old.taxed and old.lull <= tuning.patience
        return old.changed(
            **known, hungry=hungry, memory=memory, calm=0, taxed=False,
            hurt=use if sorry else old.hurt,
            regret=min(old.sorry_at(use) + 1, MOST_REGRET) if sorry else old.regret,
        )  # fmt: skip
    calm = old.calm + 1
    lately = old.taxed and old.lull < tuning.patience
    most = use + (use - guest.margin) // 10
    return old.changed(
        **known, hungry=False, calm=calm,
        memory=min(old.memory if lately else max(old.memory, use), most), lull=old.lull + 1,
        regret=old.regret if calm <= FORGIVEN * tuning.patience << old.regret else 0,
    )  # fmt: skip
