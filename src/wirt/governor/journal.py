"""What the governor remembers of its acts, so that it can say afterwards why.

A :class:`Change` is one act, or one that was refused; a :class:`Frame` is one whole tick, enough to
decide it again under another policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from wirt.governor.emergency import Alarm
from wirt.governor.estimate import Estimate
from wirt.governor.movement import Reason
from wirt.governor.observe import Tick
from wirt.governor.tree import Resource


class Act(Enum):
    """What was done to a guest."""

    GROW = "grow"
    SHRINK = "shrink"
    WEIGH = "weigh"
    LIMIT = "limit"
    REFUSE = "refuse"
    PAUSE = "pause"
    RESUME = "resume"
    WAKE = "wake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One act on one guest (by id). ``at``: Unix nanoseconds.

    ``before``, ``after``: in the resource's unit (see :mod:`wirt.governor.tree`), None where there
    is no figure. ``inputs``: the figures that led to it, by the names of
    :class:`~wirt.governor.observe.Seen` and :class:`~wirt.governor.demand.Estimate`.
    ``effect``: what was read back afterwards; ``failure``: why it did not work, else empty.
    """

    at: int
    guest: str
    resource: Resource
    act: Act
    reason: Reason
    before: int | None = None
    after: int | None = None
    inputs: Mapping[str, float] = field(default_factory=dict)
    effect: int | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One guest's part of one resource in one tick: what it used, wanted and was entitled to."""

    use: int | None = None
    demand: int | None = None
    entitled: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One tick. ``at``: Unix nanoseconds. ``capacity``: of each resource, for guests.

    ``shares``: by guest id, then resource. ``reasons``: of memory, by guest id. ``cost``: seconds
    of processor time that the tick took. ``asleep``: guests that slept then. ``learned``: what was
    thought of each guest before this tick, now and then, for a trace to begin with.
    """

    at: int
    tick: Tick
    capacity: Mapping[Resource, int] = field(default_factory=dict)
    alarm: Alarm = Alarm.NONE
    shares: Mapping[str, Mapping[Resource, Share]] = field(default_factory=dict)
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    cost: float = 0.0
    asleep: frozenset[str] = frozenset()
    learned: Mapping[str, Estimate] = field(default_factory=dict)
