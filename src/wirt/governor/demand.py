"""What guests need, estimated from what was seen: fast up, slow down, taxed when idle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from wirt.governor.observe import Seen
from wirt.governor.plan import Want
from wirt.governor.tree import Claim

_MIB = 1 << 20
MOST_URGENT = 20_000.0
"""Pages a second above which nobody is more urgent than others: else who reads in circles through
more than there is, from a fast disk, would make all others' need a trickle."""
MOST_REGRET = 4
"""How often the patience before the tax is doubled and the tax halved at most: 16 times."""
FADE = 0.95
"""Part of what was taken and asked back that is still remembered a tick later."""
_PAGE = 4096
PRESSING = 3
"""Ticks for which somebody's hunger counts: a guest that was just fed is not sated yet."""
FORGIVEN = 4
"""Patiences of calm after which an earlier regret no longer counts."""
SORE = 1.25
"""Times the size at which the tax hurt up to which, and down to which, that is regretted: what lies
above is idle, and who came to be calm far below needs less than then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How the estimates move. All were measured, see docs/explanation/governor.md.

    ``cpu_up``, ``cpu_down``: part of the way that an estimate goes in a tick. ``ramp``: by what a
    hungry guest's estimate grows in a tick. ``near``: part of the limit from which on a guest may
    be hungry. ``refaults``: pages a second below which nobody is. ``ratio``: part of the most
    urgent guest's refaults below which another's do not count. ``missed``: part of what was taken
    from a guest of late that it must have asked back to be hungry. ``patience``: calm ticks before
    the tax. ``tax``: part of the memory taken from an idle guest in a tick while another is hungry
    or was a moment ago. ``headroom``: part added to what is used, for growth. ``tight``: part of
    the capacity above which memory is short. ``buffer``: part of it that idle memory makes room
    for before anybody is hungry, ``early`` of the tax a tick.
    """

    cpu_up: float = 0.7
    cpu_down: float = 0.15
    ramp: float = 1.35
    near: float = 0.92
    refaults: float = 60.0
    ratio: float = 0.2
    missed: float = 0.3
    patience: int = 5
    tax: float = 0.2
    headroom: float = 0.08
    spare: int = 4 * _MIB
    tight: float = 0.97
    buffer: float = 0.125
    early: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is remembered of a guest from tick to tick.

    ``cpu``: millicores; ``memory``: bytes it needs; ``rate``: pages a second that it read again or
    grew by at its limit, smoothed; ``calm``: ticks since it last was hungry or grew; ``use``: bytes
    it held; ``hungry``: now. ``taxed``: whether it was taxed since it last was hungry; ``lull``:
    ticks since it was taxed; ``regret``: how often in a row the tax made it hungry, so that it was
    no idle memory that was taken; ``hurt``: what it held then. ``limit``: bytes that it might hold.
    ``taken``, ``missed``: pages taken from it and read again of late, both fading alike: where
    little is missed it was idle memory.
    """

    cpu: float = 0.0
    memory: int = 0
    rate: float = 0.0
    calm: int = 0
    use: int = 0
    hungry: bool = False
    taxed: bool = False
    lull: int = 0
    regret: int = 0
    hurt: int = 0
    limit: int | None = None
    taken: float = 0.0
    missed: float = 0.0


FRESH = Estimate()


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
        after[name] = replace(old, cpu=old.cpu + part * (now - old.cpu))
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
    ESX's, on a measured signal. Blind guests keep their estimates.
    """
    known = {n: _weighed(before.get(n, FRESH), guest, seconds, tuning) for n, guest in seen.items()}
    urgent = max((min(known[n].rate, MOST_URGENT) * claims[n].shares for n in seen), default=0.0)
    hungry = {
        name: _hungry(guest, known[name], claims[name].shares, urgent, tuning)
        for name, guest in seen.items()
    }
    wanted = sum(want_of(before.get(n, FRESH), claims[n], tuning).amount for n in seen)
    pressing = any(hungry[n] or known[n].calm < PRESSING for n in seen)
    tight = wanted > tuning.tight * capacity and pressing
    scarce = sum(map(_use, seen.values())) > (1 - tuning.buffer) * capacity
    tax = tuning.tax if tight else tuning.tax * tuning.early if scarce else 0.0
    after: dict[str, Estimate] = {}
    for name, guest in seen.items():
        if guest.blind:
            after[name] = replace(before.get(name, FRESH), hungry=False)
            continue
        moved = replace(known[name], hungry=hungry[name])
        after[name] = _move(moved, guest, tax=tax, tight=tight, tuning=tuning)
    return after


def want_of(estimate: Estimate, claim: Claim, tuning: Tuning) -> Want:
    """What to ask for: the need and some headroom, between reservation and limit."""
    amount = int(estimate.memory * (1 + tuning.headroom)) + tuning.spare
    return Want(amount=min(max(amount, claim.reservation), claim.limit), hungry=estimate.hungry)


def _weighed(old: Estimate, guest: Seen, seconds: float, tuning: Tuning) -> Estimate:
    """How urgently it needs memory, and how much of what was taken from it it asks back.

    Who grows towards its limit needs it as much as who reads again what it lost.
    """
    if guest.refaults is None or guest.memory is None:
        return replace(old, limit=guest.memory_limit)
    lowered = max((old.limit or 0) - (guest.memory_limit or (1 << 62)), 0)
    lost = max(old.use - _use(guest), 0)
    taken = FADE * old.taken + min(lowered, lost) / _PAGE
    grown = (_use(guest) - old.use) / _PAGE if _grew(old, guest, tuning) else 0.0
    return replace(
        old,
        rate=(old.rate + guest.refaults + grown / max(seconds, 0.01)) / 2,
        limit=guest.memory_limit,
        taken=taken,
        missed=min(FADE * old.missed + guest.refaults * seconds, taken),
    )


def _use(guest: Seen) -> int:
    """What it holds and cannot do without: a machine also needs room to move."""
    return (guest.memory or 0) + guest.margin


def _near(guest: Seen, tuning: Tuning) -> bool:
    if guest.memory is None or guest.memory_limit is None:
        return False
    return _use(guest) > tuning.near * guest.memory_limit


def _grew(old: Estimate, guest: Seen, tuning: Tuning) -> bool:
    return old.use > 0 and _use(guest) > 1.02 * old.use and _near(guest, tuning)


def _hungry(guest: Seen, now: Estimate, shares: int, urgent: float, tuning: Tuning) -> bool:
    if guest.under_oom:
        return True
    if guest.blind or not _near(guest, tuning):
        return False
    if now.rate <= tuning.refaults or now.rate * shares < tuning.ratio * urgent:
        return False
    return now.missed >= tuning.missed * now.taken


def _move(old: Estimate, guest: Seen, *, tax: float, tight: bool, tuning: Tuning) -> Estimate:
    """Up at once, down after some patience. ``tax``: part to be taken now; before memory is
    ``tight`` nothing that it was sorry for.
    """
    use = _use(guest)
    if old.hungry or _grew(old, guest, tuning):
        memory = int(use * tuning.ramp) + tuning.spare
        moved = replace(old, memory=memory, calm=0, use=use, taxed=False)
        if old.taxed and old.lull <= tuning.patience:
            again = old.regret if _sore(old, use) else 0
            return replace(moved, regret=min(again + 1, MOST_REGRET), hurt=use)
        return moved
    calm = old.calm + 1
    regret = old.regret if _sore(old, use) else 0
    patience = tuning.patience << regret
    if tax and calm > patience and (tight or not regret):
        kept = min(guest.anon or 0, use)
        memory = max(int(min(old.memory, use) * (1 - tax / (1 << regret))), kept)
        return replace(old, memory=memory, calm=calm, use=use, taxed=True, lull=0)
    memory = min(max(old.memory, use), int(1.1 * use))
    regret = old.regret if calm <= FORGIVEN * tuning.patience << old.regret else 0
    return replace(old, memory=memory, calm=calm, use=use, lull=old.lull + 1, regret=regret)


def _sore(old: Estimate, use: int) -> bool:
    """Whether it holds about as much as when the tax hurt."""
    return old.hurt / SORE <= use <= old.hurt * SORE
