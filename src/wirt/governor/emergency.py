"""When the host itself runs short: three states, entered at once and left with hysteresis."""

from __future__ import annotations

from enum import IntEnum


class Alarm(IntEnum):
    """How short the host's memory is.

    SOFT: idle memory is taxed twice as hard. HARD: everybody falls to its reservation, or to what
    cannot be taken back. LOW: guests are frozen, those of class batch first.
    """

    NONE = 0
    SOFT = 1
    HARD = 2
    LOW = 3


_BELOW = {Alarm.SOFT: 0.5, Alarm.HARD: 0.25, Alarm.LOW: 0.1}
"""Parts of the host's reserve; less is free: the state is entered."""
_HYSTERESIS = 1.2
_STALLED = {Alarm.SOFT: 0.05, Alarm.HARD: 0.2, Alarm.LOW: 0.5}
"""Parts of the time in which everything stood still for want of memory."""


def alarm(now: Alarm, *, free: int | None, reserve: int, pressure: float | None) -> Alarm:
    """The state after a tick. Unknown figures change nothing.

    It rises to whatever the figures say, and falls by one step when they are 20 % better than
    what the present state begins at.
    """
    if free is None:
        return now
    stalled = pressure or 0.0
    called = max(
        (state for state in _BELOW if free < _BELOW[state] * reserve or stalled > _STALLED[state]),
        default=Alarm.NONE,
    )
    if called >= now or now is Alarm.NONE:
        return called
    over = free >= _HYSTERESIS * _BELOW[now] * reserve and stalled * _HYSTERESIS <= _STALLED[now]
    return Alarm(now - 1) if over else now
