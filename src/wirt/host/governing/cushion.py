"""Whom a hard limit may hold, where there are no others (version 1 of control groups). Pure.

Who meets a hard limit in a page fault of its own can be made to wait. In a system call it cannot:
it is refused memory (``write`` to a tmpfs fails with ENOMEM, ``read`` into new memory with EFAULT),
or a process of it is killed. So only guests are held that have a cushion of files' caches, or of
what may be swapped: the kernel takes from that first, and until it is used up the limit is raised.
All others are counted with what they hold and may grow by meanwhile, and fenced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wirt.governor.movement import margin
from wirt.host.governing.member import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """``held``: who may be held to a limit; ``free``: who may not; ``capacity``: bytes that those
    who are held share."""

    held: dict[str, Member]
    free: dict[str, Member]
    capacity: int


def sort(members: Mapping[str, Member], capacity: int) -> Sorted:
    """Tell them apart. ``capacity``: bytes that all share."""
    least = margin(capacity)
    held = {name: one for name, one in members.items() if one.v2 or _cushioned(one, least)}
    free = {name: one for name, one in members.items() if name not in held}
    taken = sum((one.use or 0) + _growth(one, least) for one in free.values())
    return Sorted(held=held, free=free, capacity=max(capacity - taken, 0))


def _growth(member: Member, least: int) -> int:
    """By how many bytes one that is not held may grow before it is looked at again; in its sleep by
    none."""
    return 0 if member.guest.status.asleep else least


def _cushioned(member: Member, least: int) -> bool:
    """Held ones stay so down to half a cushion, others need a whole one."""
    held = member.bounded and not member.fenced
    return member.revocable >= (least // 2 if held else least)
