"""CPU weights as the kernel has them: from entitlements when all want everything."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from wirt.governor.journal import Act, Change
from wirt.governor.movement import Reason
from wirt.governor.tree import SHARES, Group, Member, Resource
from wirt.governor.weights import cpu_weights
from wirt.host.claims import shares_of
from wirt.host.governing.actuate import Actuator
from wirt.host.governing.member import NORMAL_SHARES, NORMAL_WEIGHT
from wirt.host.governing.member import Member as Governed
from wirt.privileged.holds import Hold

MINIMAL = 0.1
"""Part of its weight that a minimal guest has."""
LEAST = 2
BAND = 0.05
"""Part by which a weight must differ to be worth a write."""


def targets(root: Group, members: Mapping[str, Governed], capacity: int) -> dict[str, int]:
    """What ``cpu.shares`` or ``cpu.weight`` of each guest shall be; a part of it while it is
    minimal, so that what its own clocks start now and then does not disturb who works."""
    return {
        name: max(round(weight * MINIMAL), LEAST) if members[name].minimal else weight
        for name, weight in _full(root, members, capacity).items()
    }


def _full(root: Group, members: Mapping[str, Governed], capacity: int) -> dict[str, int]:
    """What ``cpu.shares`` or ``cpu.weight`` of each guest shall be.

    Where nothing is guaranteed and there are no groups, the kernel's weights as the user gave them
    are right already, and stay.
    """
    if _plain(root, members):
        return {name: member.safe_cpu for name, member in members.items()}
    weights = {n: w for n, w in cpu_weights(root, capacity).items() if n in members}
    if not weights:
        return {}
    mean = sum(weights.values()) / len(weights)
    made = {}
    for name, weight in weights.items():
        if members[name].v2:
            made[name] = min(max(round(weight / mean * NORMAL_WEIGHT), 1), 10_000)
        else:
            made[name] = min(max(round(weight / mean * NORMAL_SHARES), 2), 262_144)
    return made


def differs(now: int | None, target: int) -> bool:
    """Whether a weight is worth a write."""
    return now is not None and abs(now - target) > BAND * now


async def write(
    actuator: Actuator, members: Sequence[Governed], targets: Mapping[str, int], *, why: Reason
) -> list[Change]:
    """Write new weights. Raises WirtError when nobody acts."""
    if not members:
        return []
    holds = [Hold(id=m.guest.id, cpu=targets[m.guest.id]) for m in members]
    changes = []
    for member, held in zip(members, await actuator.govern(holds), strict=True):
        before, after = member.cpu, targets[member.guest.id]
        if not held.failure:
            member.cpu = after
        reason = Reason.IDLE if member.minimal else why
        changes.append(_change(member, before, after, reason, held.failure))
    return changes


def _change(
    member: Governed, before: int | None, after: int, reason: Reason, failure: str
) -> Change:
    return Change(
        at=time.time_ns(), guest=member.guest.id, resource=Resource.CPU, act=Act.WEIGH,
        reason=reason, before=before, after=after, effect=member.cpu, failure=failure,
    )  # fmt: skip


def _plain(root: Group, members: Mapping[str, Governed]) -> bool:
    for child in root.children:
        if isinstance(child, Group):
            if next(child.members(), None) is not None:
                return False
        elif child.name in members and not _as_started(child, members[child.name]):
            return False
    return True


def _as_started(child: Member, member: Governed) -> bool:
    claim = child.claim(Resource.CPU)
    shares = shares_of(member.guest.spec.resources.cpu_shares) or SHARES
    return not claim.reservation and claim.shares == shares
