"""Disks by weight, where the kernel can: ``io.weight`` of version 2 of control groups.

It is there with most kernels, but counts only where an operator has set up io.cost for a disk, or
where BFQ is its scheduler. There the kernel shares disks as it does processors, and nobody loses
what others do not use. So weights follow from reservations, limits and shares, not from demand; and
they are all right everywhere else, where nothing listens to them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from wirt.governor.journal import Act, Change
from wirt.governor.movement import Reason
from wirt.governor.plan import due
from wirt.governor.tree import Group, Resource
from wirt.host.governing import weigh
from wirt.host.governing.actuate import Actuator
from wirt.host.governing.member import NORMAL_WEIGHT, Member
from wirt.privileged.holds import Hold

MOST = 10_000
"""The largest weight of the kernel's (cgroup-v2, ``io.weight``); BFQ's is less."""


def wanted(root: Group, members: Mapping[str, Member], capacity: int) -> list[Hold]:
    """The weights that the kernel does not have yet. ``capacity``: bytes a second of the disks, 0:
    not known, and then nothing was promised of them, and shares alone count."""
    parts: Mapping[str, float] = due(root, Resource.DISK, capacity) if capacity else _parts(root)
    known = {n: parts[n] for n, m in members.items() if m.disk_weight is not None and n in parts}
    mean = sum(known.values()) / len(known) if known else 0
    if not mean:
        return []
    made = []
    for name, part in known.items():
        target = min(max(round(NORMAL_WEIGHT * part / mean), 1), MOST)
        if weigh.differs(members[name].disk_weight, target):
            made.append(Hold(id=name, disk_weight=target))
    return made


def _parts(group: Group, whole: float = 1.0) -> dict[str, float]:
    """What part of ``whole`` each guest in a group has by shares, when all want all. Weights need
    no more: that a limit holds is another matter."""
    total = sum(child.claim(Resource.DISK).shares for child in group.children)
    made: dict[str, float] = {}
    for child in group.children:
        part = whole * child.claim(Resource.DISK).shares / total
        made |= _parts(child, part) if isinstance(child, Group) else {child.name: part}
    return made


def given_back(members: Mapping[str, Member]) -> list[Hold]:
    """What they were started with."""
    return [
        Hold(id=name, disk_weight=NORMAL_WEIGHT)
        for name, member in members.items()
        if member.disk_weight not in {None, NORMAL_WEIGHT}
    ]


async def write(
    actuator: Actuator, members: Mapping[str, Member], holds: Sequence[Hold], why: Reason
) -> list[Change]:
    """Write that. What the kernel refuses is tried again when it is read back."""
    if not holds:
        return []
    changes = []
    for hold, held in zip(holds, await actuator.govern(holds), strict=True):
        member = members[hold.id]
        before, member.disk_weight = member.disk_weight, hold.disk_weight
        changes.append(
            Change(
                at=time.time_ns(), guest=hold.id, resource=Resource.DISK, act=Act.WEIGH, reason=why,
                before=before, after=hold.disk_weight, failure=held.failure,
            )
        )  # fmt: skip
    return changes
