"""Whether memory is short, and how much of it guests may hold. Pure but for what it remembers.

Where it is not short nobody is squeezed: whoever never heard of a governor gets what his own limit
says, as everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable

from wirt.governor.emergency import Alarm
from wirt.governor.observe import Tick
from wirt.host.governing.member import Member
from wirt.host.governing.policy import Policy

ENTER, LEAVE = 0.85, 0.7
"""Parts of the capacity: above the first it is short, below the second no more."""
NEAR, FAR = 2, 3
"""Times the host's reserve: with less left it is short, with more than the second no more."""


class Shortness:
    """``now``: memory is divided. ``capacity``: bytes that guests may hold together."""

    def __init__(self) -> None:
        self.now = False
        self.capacity = 0

    def judge(
        self, members: Iterable[Member], tick: Tick, *, policy: Policy, reserve: int, pool: int
    ) -> int:
        """The capacity after a look. ``pool``: bytes that guests may hold at most; ``reserve``:
        bytes that the host keeps."""
        seen = [(m, tick.guests[m.guest.id]) for m in members if m.guest.id in tick.guests]
        use = sum(_inside(m) if m.inside else one.memory or 0 for m, one in seen)
        held = sum(_inside(m) if m.inside else one.anon or 0 for m, one in seen)
        capacity = max(pool, 0)
        near = tick.free is not None and tick.free < NEAR * reserve
        if near and tick.free is not None:
            # What is free already counts what can be dropped of guests' files.
            capacity = min(capacity, max(held + tick.free - reserve, use // 2))
        far = tick.free is None or tick.free > FAR * reserve
        if policy.always or near or use > ENTER * capacity:
            self.now = True
        elif far and use < LEAVE * capacity:
            self.now = False
        self.capacity = capacity
        return capacity

    def alarmed(self, alarm: Alarm) -> None:
        """In an emergency it is short, whatever the figures of guests say."""
        self.now = self.now or alarm is not Alarm.NONE


def _inside(member: Member) -> int:
    """Bytes of the host that a machine's guest holds, whatever it needs of them."""
    assert member.inside is not None
    return min(member.kept or 0, member.inside.holds)
