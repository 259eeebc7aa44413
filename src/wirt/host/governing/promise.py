"""What is promised stands in the kernel, where it has a word for it: ``memory.min`` of version 2.

It follows from what users said, not from demand, so it needs no plan for when nobody governs: it
stays, and holds while the daemon is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from wirt.governor.tree import Claim
from wirt.host.governing.actuate import Actuator
from wirt.host.governing.member import Member
from wirt.privileged.holds import Hold

log = logging.getLogger("wirt.host.governing")


async def keep(actuator: Actuator, members: Iterable[Member], claims: Mapping[str, Claim]) -> None:
    """Write the reservations that the kernel does not have yet. What the kernel refuses is tried
    again when it is read back."""
    changed = [
        (member, claim.reservation)
        for member in members
        if (claim := claims.get(member.guest.id)) is not None
        and member.floor not in {None, claim.reservation}
    ]
    if not changed:
        return
    holds = [Hold(id=member.guest.id, floor=floor) for member, floor in changed]
    for (member, floor), held in zip(changed, await actuator.govern(holds), strict=True):
        member.floor = floor
        if held.failure:
            log.warning("guest %s is not protected: %s", member.guest.name, held.failure)
