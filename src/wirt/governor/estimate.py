"""What is thought of a guest's need from tick to tick, and what moves that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from wirt.governor.observe import Seen
from wirt.governor.plan import Want
from wirt.governor.tree import Claim

_MIB = 1 << 20
AHEAD = 10
"""Ticks for which growth is thought to go on."""
SWAPS = 4 * _MIB
"""Bytes in swap from which on a guest counts as one that is swapped."""
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
    the capacity above which memory is short. ``buffer``: part of it that calm guests make room for
    before anybody is hungry, ``early`` of the tax a tick; ``room``: part of it that those do whose
    memory does little work. ``easy_room``, ``easy_early``: the same of those who get back what was
    taken as soon as they ask for it (:func:`swaps`).
    """

    cpu_up: float = 0.7
    cpu_down: float = 0.15
    ramp: float = 1.35
    near: float = 0.92
    refaults: float = 60.0
    ratio: float = 0.2
    missed: float = 0.4
    patience: int = 5
    tax: float = 0.2
    headroom: float = 0.08
    spare: int = 4 * _MIB
    tight: float = 0.97
    buffer: float = 0.125
    room: float = 0.3
    early: float = 0.25
    easy_room: float = 0.3
    easy_early: float = 0.6


@dataclass(slots=True)
class Estimate:
    """What is remembered of a guest from tick to tick.

    ``cpu``: millicores; ``work``: the same, without haste; ``memory``: bytes it needs; ``rate``:
    pages a second that it read again or grew by, smoothed; ``calm``: ticks since it last was hungry
    or grew; ``use``: bytes it held; ``hungry``: now. ``taxed``: whether it was taxed since it last
    was hungry; ``lull``: ticks since it was taxed; ``regret``: how often in a row the tax made it
    hungry, so that it was no idle memory that was taken; ``hurt``: what it held then. ``limit``:
    bytes that it might hold. ``taken``, ``missed``: pages taken from it and read again of late,
    both fading alike: where little is missed it was idle memory.
    """

    cpu: float = 0.0
    work: float = 0.0
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
    growth: float = 0.0
    margin: int = 0

    def changed(self, **values: Any) -> Estimate:
        """The same with other values. It is not frozen, for that takes four times as long to make,
        and several are made a guest and tick; yet nobody changes one that is made."""
        made = Estimate(*_all(self))
        for name, value in values.items():
            setattr(made, name, value)
        return made

    @property
    def sorry(self) -> int:
        """How often it was sorry for a tax at about the size that it has."""
        return self.sorry_at(self.use)

    def sorry_at(self, use: int) -> int:
        """How often it was sorry at about that size."""
        return self.regret if self.hurt / SORE <= use <= self.hurt * SORE else 0


_all = attrgetter(*(one.name for one in fields(Estimate)))
FRESH = Estimate()


def held(guest: Seen) -> int:
    """What it holds and cannot do without: a machine also needs room to move."""
    return (guest.memory or 0) + guest.margin


def swaps(guest: Seen) -> bool:
    """Whether what is taken from it is swapped: that comes back at once, if it is asked for, from
    compressed memory; files come back from a disk that others may keep busy."""
    return (guest.swap or 0) >= SWAPS


def work(estimate: Estimate, guest: Seen) -> float:
    """Millicores for a byte."""
    return estimate.work / max(held(guest), 1)


def usual(estimates: Mapping[str, Estimate], seen: Mapping[str, Seen]) -> float:
    """Millicores for a byte, of all together."""
    return sum(estimates[n].work for n in seen) / max(sum(map(held, seen.values())), 1)


def need_of(estimate: Estimate, claim: Claim, tuning: Tuning) -> int:
    """Bytes to ask for: the need and some headroom, between reservation and limit."""
    room = 0 if estimate.margin else int(estimate.memory * tuning.headroom) + tuning.spare
    return min(max(estimate.memory + room, claim.reservation), claim.limit)


def want_of(estimate: Estimate, claim: Claim, tuning: Tuning, *, kept: int) -> Want:
    """What to ask for. ``kept``: bytes that it cannot do without."""
    return Want(
        amount=max(need_of(estimate, claim, tuning), kept), kept=kept, hungry=estimate.hungry,
        modest=estimate.margin > 0,
    )  # fmt: skip
