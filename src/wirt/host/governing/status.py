"""How the governor is doing, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass

from wirt.governor.movement import Reason
from wirt.host.governing import look
from wirt.host.governing.loop import Governor
from wirt.host.governing.policy import Mode, Policies
from wirt.host.governing.pool import SwapUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """``state``: ``off``, ``paused``, ``idle`` (no guest runs), ``governing`` or ``failed``, with
    ``failure`` saying why. ``dividing``: memory is divided by limits now. ``alarm``: ``none``,
    ``soft``, ``hard`` or ``low``. ``last_tick``: Unix nanoseconds, 0 for never. ``cost``: part of
    a core that it takes, smoothed. ``tight``, ``blind``, ``stuck``: guests by id: that want more
    than they get, of which nothing is known, that do not give back. ``changed``: the policy was set
    at run time. ``excess``: what of the policy's pool this host does not have, in words.
    ``swap``: the compressed swap that the policy asks for, None when there is none."""

    state: str
    dividing: bool
    alarm: str
    tick: float
    last_tick: int
    cost: float
    guests: int
    capacity: dict[str, int]
    tight: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    failure: str = ""
    changed: bool = False
    excess: tuple[str, ...] = ()
    swap: SwapUse | None = None


def status(governor: Governor, policies: Policies) -> Status:
    """The governor now."""
    last = governor.ring.last
    running = governor.roll.anybody()
    shown = last if running else None
    reasons = {} if shown is None else shown.reasons
    members = governor.roll.members
    return Status(
        state=_state(governor, running=running),
        dividing=governor.dividing,
        alarm=governor.alarm.name.lower(),
        tick=governor.policy.tick,
        last_tick=0 if last is None else last.at,
        cost=round(governor.cost, 5),
        guests=len(members),
        capacity={} if shown is None else {r.value: n for r, n in shown.capacity.items()},
        tight=tuple(name for name, why in reasons.items() if why is Reason.HUNGRY),
        blind=look.blind(reasons),
        stuck=tuple(name for name, member in members.items() if member.backoff > 1),
        failure=governor.failure,
        changed=policies.changed,
        excess=governor.bounds.excess(governor.policy.pool),
        swap=governor.bounds.swap(),
    )


def _state(governor: Governor, *, running: bool) -> str:
    if governor.policy.mode is Mode.OFF:
        return "off"
    if governor.paused:
        return "paused"
    if governor.failures:
        return "failed"
    return "governing" if running else "idle"
