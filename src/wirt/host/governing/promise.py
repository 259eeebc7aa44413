"""Reservations of memory in the kernel's own words (version 2 of control groups: ``memory.min``).

What is promised to a guest stays its even when reclaim comes from somewhere that the governor does
not see: another program of the host, a limit above all guests.
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
    """Write the reservations that the kernel does not know yet; bytes by ``claims``, of guest ids.
    A kernel that refuses one is told of once, and not asked again."""
    changed = [m for m in members if m.v2 and m.floor != _floor(claims, m)]
    if not changed:
        return
    holds = [Hold(id=m.guest.id, floor=_floor(claims, m)) for m in changed]
    for member, held in zip(changed, await actuator.govern(holds), strict=True):
        member.floor = _floor(claims, member)
        if held.failure:
            log.warning("guest %s is not promised memory: %s", member.guest.name, held.failure)


def _floor(claims: Mapping[str, Claim], member: Member) -> int:
    claim = claims.get(member.guest.id)
    return claim.reservation if claim is not None else 0
