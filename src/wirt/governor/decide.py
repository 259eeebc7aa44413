"""One tick: from what was seen to what everybody is entitled to, with the reason for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wirt.governor.demand import cpu_wants, memory_wants
from wirt.governor.emergency import Alarm, alarm
from wirt.governor.estimate import Estimate, Tuning, want_of
from wirt.governor.movement import Reason
from wirt.governor.observe import Seen, Tick
from wirt.governor.plan import Entitlements, Want, entitle
from wirt.governor.tree import Claim, Group, Resource

LEISURE = 0.3
"""Part of the processors that is left, from which on all room is made that is worth having."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is remembered between ticks. A fresh one is as good: it is learned again."""

    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    alarm: Alarm = Alarm.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one tick decided about memory. ``reasons``: by guest, the rule that set its share."""

    state: State
    memory: Entitlements
    reasons: Mapping[str, Reason]


def decide(
    state: State,
    tick: Tick,
    root: Group,
    *,
    capacity: int,
    reserve: int,
    tuning: Tuning,
    slack: int = 0,
    processors: int = 0,
    asleep: frozenset[str] = frozenset(),
) -> Decision:
    """Entitlements to ``capacity`` bytes of memory; ``reserve``: bytes that the host keeps free;
    ``slack``: bytes that a guest must have above what cannot be taken from it; machines tell their
    own. ``asleep``: guests that keep what they have, and need no room: they cannot move.
    ``processors``: millicores for all guests together; 0: unknown.

    Guests that were not seen in this tick want nothing and are forgotten.
    """
    state = replace(
        state,
        alarm=alarm(state.alarm, free=tick.free, reserve=reserve, pressure=tick.pressure),
    )
    if state.alarm is not Alarm.NONE:
        tuning = replace(tuning, tax=min(2 * tuning.tax, 1.0), tight=0.0)
    claims = {m.name: m.claim(Resource.MEMORY) for m in root.members() if m.name in tick.guests}
    seen = {name: tick.guests[name] for name in claims}
    estimates = cpu_wants(state.estimates, seen, tuning)
    tuning = _unhurried(tuning, estimates, processors)
    estimates = memory_wants(
        estimates, seen, claims, capacity=capacity, seconds=tick.seconds, tuning=tuning
    )
    wants: dict[str, Want] = {}
    for name, guest in seen.items():
        kept = min(_kept(guest, 0 if name in asleep else slack), claims[name].limit)
        if name in asleep:
            wants[name] = Want(amount=max(guest.memory or 0, kept), kept=kept)
        else:
            wants[name] = want_of(estimates[name], claims[name], tuning, kept=kept)
    if state.alarm >= Alarm.HARD:
        wants = {
            name: want._replace(
                amount=max(_least(seen[name], claims[name]), want.kept), hungry=False
            )
            for name, want in wants.items()
        }
    entitled = entitle(root, Resource.MEMORY, capacity, wants)
    reasons = {
        name: _reason(state, seen[name], estimates[name], claims[name], entitled.members[name])
        for name in claims
    }
    return Decision(state=replace(state, estimates=estimates), memory=entitled, reasons=reasons)


def _unhurried(tuning: Tuning, estimates: Mapping[str, Estimate], processors: int) -> Tuning:
    """With no more room to be made by swapping than there is processor time for: it costs that,
    and twice where what was taken is asked back."""
    if processors <= 0:
        return tuning
    left = 1 - sum(one.work for one in estimates.values()) / processors
    part = min(max(left / LEISURE, 0.0), 1.0)
    room = tuning.buffer + part * (tuning.easy_room - tuning.buffer)
    return replace(tuning, easy_room=room)


def _kept(guest: Seen, slack: int) -> int:
    """What it cannot do without: what cannot be taken from it, and room to move."""
    return (guest.anon or 0) + (0 if guest.margin else slack)


def _least(guest: Seen, claim: Claim) -> int:
    """What a guest keeps when the host is short: what was promised, or cannot be taken back."""
    return min(max(claim.reservation, guest.anon or 0), claim.limit)


def _reason(state: State, guest: Seen, estimate: Estimate, claim: Claim, entitled: int) -> Reason:
    if guest.blind:
        return Reason.BLIND
    if state.alarm is not Alarm.NONE:
        return Reason.EMERGENCY
    if entitled >= claim.limit:
        return Reason.LIMIT
    if estimate.hungry:
        return Reason.HUNGRY
    if entitled <= claim.reservation:
        return Reason.RESERVATION
    return Reason.TAXED if estimate.taxed else Reason.HEADROOM
