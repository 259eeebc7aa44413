"""What keeps guests safe from the governor and from each other: plans, killers, freezing. Pure.

A guest waits at its limit only as long as somebody may still give it more; a guest at or below its
reservation is never frozen, let alone killed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from wirt.governor.tree import Claim
from wirt.host.governing.member import NORMAL_WEIGHT, Member
from wirt.model.guest import GuestClass, GuestState
from wirt.privileged.holds import Safe

STARVING = 2.0
"""Seconds for which a guest waits for memory that others may give back; then the kernel's killer
decides, as it would have without a governor."""
HOPELESS = 10.0
"""Seconds in the worst state with everybody frozen who may be; then somebody has to end."""
_FREEZABLE = (GuestClass.BATCH, GuestClass.NORMAL)


def plan(
    members: Iterable[Member], touching: Collection[str], freezing: Member | None
) -> tuple[Safe, ...]:
    """What everybody gets when nobody governs; those that are touched or frozen next among them."""
    made = []
    for member in members:
        safe = member.safe
        if member is freezing or (safe is None and member.guest.id in touching):
            safe = Safe(
                id=member.guest.id, limit=member.safe_limit, cpu=member.safe_cpu,
                thaw=member.frozen or member is freezing, low=member.safe_low,
                disk=member.safe_disk if member.container else None,
                disk_weight=None if member.disk_weight is None else NORMAL_WEIGHT,
                line=member.safe_line,
            )  # fmt: skip
        if safe is not None:
            made.append(safe)
    return tuple(made)


def hopeless(member: Member, now: float, *, coming: bool = False) -> bool:
    """Whether the kernel's killer should decide: the guest has met what its user allowed, or
    nobody had anything to give. ``coming``: a machine is giving back some."""
    if member.starving is None:
        return False
    patience = HOPELESS if coming else STARVING
    return not member.bounded or now - member.starving > patience


def freezing_order(members: Iterable[Member], claims: Mapping[str, Claim]) -> list[Member]:
    """Who may be frozen, who goes first at the front: batch before normal, by OOM rank, then by
    what it holds above its reservation."""
    free = [
        member
        for member in members
        if not member.frozen
        and member.guest.status.state is GuestState.RUNNING
        and member.guest.spec.guest_class in _FREEZABLE
        and excess(member, claims) > 0
    ]
    return sorted(
        free,
        key=lambda member: (
            _FREEZABLE.index(member.guest.spec.guest_class),
            member.guest.spec.oom_rank,
            -excess(member, claims),
            member.guest.id,
        ),
    )


def victim(members: Iterable[Member], claims: Mapping[str, Claim]) -> Member | None:
    """Who ends when freezing did not help: above its reservation, lowest rank, lowest shares,
    largest excess."""
    found = [member for member in members if excess(member, claims) > 0]
    return min(
        found,
        key=lambda member: (
            member.guest.spec.oom_rank,
            claims[member.guest.id].shares,
            -excess(member, claims),
            member.guest.id,
        ),
        default=None,
    )


def excess(member: Member, claims: Mapping[str, Claim]) -> int:
    """Bytes that a guest holds above what was promised to it; 0 when that is not known."""
    claim = claims.get(member.guest.id)
    return 0 if claim is None else (member.use or 0) - claim.reservation
