"""What the kernel spares of each guest when it takes memory back, where it has words for that:
version 2 of control groups.

What is promised is ``memory.min``. It follows from what users said, not from demand, so it needs no
plan for when nobody governs: it stays, and holds while the daemon is gone. While memory is divided
most of what a guest is entitled to is ``memory.low`` as well: when something other than the
governor takes memory (the limit of the pool, the host), it takes from those first who hold more.
That ends with the governor, for a guest whose time is over would else be spared for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from wirt.governor.movement import PACE
from wirt.governor.tree import Claim
from wirt.host.governing.actuate import Actuator
from wirt.host.governing.member import PAGE, Member
from wirt.privileged.holds import Hold

log = logging.getLogger("wirt.host.governing")

SPARED = 0.9
"""Part of its entitlement that a guest is spared. Were it all, nobody would have anything to take
once everybody holds what is his, and the kernel would take from all alike."""


def wanted(
    members: Mapping[str, Member], claims: Mapping[str, Claim], entitled: Mapping[str, int]
) -> list[Hold]:
    """What the kernel does not have yet, of who is spared less first: so what is spared adds up to
    no more than there is, after no single write. ``entitled``: bytes; empty while memory is not
    divided."""
    made = []
    for name, member in members.items():
        if name not in claims or member.floor is None or member.low is None:
            continue
        floor, low = claims[name].reservation // PAGE * PAGE, _low(member, entitled.get(name))
        if (floor, low) != (member.floor, member.low):
            made.append(
                Hold(
                    id=name,
                    floor=None if floor == member.floor else floor,
                    low=None if low == member.low else low,
                )
            )
    return sorted(made, key=lambda hold: _rise(members[hold.id], hold))


def given_back(members: Iterable[Member]) -> list[Hold]:
    """What is left of it when nobody governs."""
    return [Hold(id=one.guest.id, low=one.safe_low) for one in members if one.protected]


async def write(actuator: Actuator, members: Mapping[str, Member], holds: Sequence[Hold]) -> None:
    """Write that. What the kernel refuses is tried again when it is read back."""
    if not holds:
        return
    for hold, held in zip(holds, await actuator.govern(holds), strict=True):
        member = members[hold.id]
        member.floor = member.floor if hold.floor is None else hold.floor
        member.low = member.low if hold.low is None else hold.low
        if held.failure:
            log.warning("guest %s is not protected: %s", member.guest.name, held.failure)


def _low(member: Member, entitled: int | None) -> int:
    """Bytes; what it has already when the difference is not worth a write."""
    assert member.low is not None
    least = member.safe_low or 0
    if entitled is None:
        return least
    wanted = max(int(SPARED * entitled) // PAGE * PAGE, least)
    return wanted if PACE.worth(member.low, wanted) else member.low


def _rise(member: Member, hold: Hold) -> int:
    return 0 if hold.low is None else hold.low - (member.low or 0)
