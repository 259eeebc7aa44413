"""Disks: how many bytes a second each guest may move, while the disks are busy.

There is nothing in version 1 of control groups, and with most schedulers nothing in version 2, that
shares a disk by weight. So entitlements become limits, anew in each tick, with some headroom, and
only while the disks are busy: a disk forgives a tick of delay. Nobody is held below what is his
when all want all, and whoever uses less than that may begin with twice as much: a guest whose peak
begins would else wait for some ticks at the limit of its idle time.

A group's limit counts at all times. Version 1 does not add up what the guests below a group move,
so the limit is divided among them, and there nobody begins with more than is his. While nobody
governs each has what is due to it when all want all: then the limit holds as well, only worse used.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from wirt.governor.journal import Act, Change
from wirt.governor.movement import Reason
from wirt.governor.observe import Seen
from wirt.governor.plan import Want, due, entitle
from wirt.governor.tree import UNLIMITED, Group, Resource
from wirt.host.governing.actuate import Actuator
from wirt.host.governing.member import Member, bounded
from wirt.privileged.holds import Hold
from wirt.qemu.device.disk import LEAST_RATE

BUSY, CALM = 0.7, 0.5
"""Parts of what the disks can do: limits begin above the first and end below the second."""
UP, DOWN = 0.7, 0.15
"""Part of the way that an estimate goes in a tick."""
HEADROOM = 1.25
NEAR = 0.85
"""Part of its limit above which a guest may want more."""
LEAST = 1 << 20
"""Bytes a second that every guest may move; with less it cannot even start a program."""
LEAST_IN_GROUP = LEAST_RATE
"""And below a group's limit, which may be too small for :data:`LEAST` to each."""
BAND = 0.05
BURST = 2
"""Times what is due to it that a guest may begin with that uses less."""


class Disks:
    """``now``: the disks are divided by limits."""

    def __init__(self) -> None:
        self.now = False
        self._demand: dict[str, float] = {}

    def targets(
        self, root: Group, seen: Mapping[str, Seen], members: Mapping[str, Member], capacity: int
    ) -> dict[str, int]:
        """Bytes a second for each guest, 0 for no limit. ``capacity``: of the disks, in which those
        who sleep have no part: they move nothing."""
        asleep = {n: m.safe_disk for n, m in members.items() if m.guest.status.asleep}
        awake = members.keys() - asleep.keys()
        used = {name: one.disk or 0 for name, one in seen.items() if name in awake}
        before = self._demand
        self._demand = {name: _moved(before.get(name, 0.0), use) for name, use in used.items()}
        busy = sum(used.values())
        self.now = capacity > 0 and busy > (CALM if self.now else BUSY) * capacity
        wants = {name: self._want(members[name], used[name]) for name in used}
        rates = dict.fromkeys(used, 0)
        entitled: Mapping[str, int] = {}
        if self.now:
            entitled = entitle(root, Resource.DISK, capacity, wants).members
            theirs = due(root, Resource.DISK, capacity, used.keys())
            for name, use in used.items():
                begin = _free(use, theirs.get(name, 0))
                rates[name] = max(entitled.get(name, 0), begin, LEAST)
        for group, limit in _limited(root):
            if not self.now:
                entitled = entitle(group, Resource.DISK, limit, wants).members
            for name in used.keys() & {leaf.name for leaf in group.members()}:
                rates[name] = max(entitled[name], LEAST_IN_GROUP)
        return asleep | {n: bounded(members[n].own_disk, rate) for n, rate in rates.items()}

    def _want(self, member: Member, use: int) -> Want:
        hungry = bool(member.disk) and use >= NEAR * member.disk
        demand = round(self._demand[member.guest.id] * HEADROOM)
        if hungry:
            demand = max(demand, round(2 * member.disk))
        return Want(amount=max(demand, LEAST), hungry=hungry, lendable=True)


def _free(use: int, its: int) -> int:
    """What a guest may take without having shown that it wants it, of what is due to it."""
    return BURST * its if use < its else its


def ungoverned(root: Group) -> dict[str, int]:
    """Bytes a second for each guest that a group's limit is for, while nobody governs."""
    return {
        name: max(rate, LEAST_IN_GROUP)
        for group, limit in _limited(root)
        for name, rate in due(group, Resource.DISK, limit).items()
    }


def differs(now: int, target: int) -> bool:
    """Whether a limit is worth a write."""
    if not now or not target:
        return now != target
    return abs(now - target) > BAND * now


def _moved(before: float, use: int) -> float:
    return before + (UP if use > before else DOWN) * (use - before)


def _limited(above: Group) -> Iterator[tuple[Group, int]]:
    """The topmost groups below that have a limit, with it. What is in them is divided with them.
    The host's own limit is what its disks can do, and holds by itself."""
    for child in above.children:
        if not isinstance(child, Group):
            continue
        limit = child.claim(Resource.DISK).limit
        if limit < UNLIMITED:
            yield child, limit
        else:
            yield from _limited(child)


async def slow(
    actuator: Actuator, members: Sequence[Member], rates: Mapping[str, int]
) -> list[Change]:
    """Write how fast containers may read and write."""
    if not members:
        return []
    holds = [Hold(id=m.guest.id, disk=rates[m.guest.id]) for m in members]
    changes = []
    for member, held in zip(members, await actuator.govern(holds), strict=True):
        before, after = member.disk, rates[member.guest.id]
        member.disk = member.disk if held.failure else after
        changes.append(change(member, before, after, held.failure))
    return changes


def change(member: Member, before: int, after: int, failure: str) -> Change:
    """What is remembered of a new rate; 0: no limit."""
    grown = not after or 0 < before < after
    return Change(
        at=time.time_ns(), guest=member.guest.id, resource=Resource.DISK,
        act=Act.GROW if grown else Act.SHRINK,
        reason=Reason.HEADROOM if grown else Reason.LIMIT,
        before=before if before > 0 else None, after=after or None, failure=failure,
    )  # fmt: skip
