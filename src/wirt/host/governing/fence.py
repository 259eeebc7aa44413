"""How much a guest may hold that no limit can be chased for (version 1 of control groups). Pure.

Whoever has no cushion (see :mod:`wirt.host.governing.cushion`) is not held to what he is entitled
to. But he is fenced: he may have all that is not promised to the others and can be taken from them,
and when he wants more, the kernel's killer decides inside his own group, not among his neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wirt.host.governing.member import Member
from wirt.linux.readings import Holding

PAGE = 4096
FIRST = 16 << 20
"""Bytes without which nothing starts, even where nothing is left."""


def kept(member: Member, reservation: int) -> int:
    """Bytes that others cannot have: what is promised to it, and what the kernel could not drop of
    what it holds."""
    return max((member.use or 0) - member.revocable, reservation)


def kept_now(member: Member, reservation: int, held: Holding) -> int:
    """The same, looked at anew: what it came to hold since the last tick would else be left to
    another. Who is just gone counts as it was last seen."""
    memory, file = held
    if memory is None:
        return kept(member, reservation)
    before = 0 if member.before is None else member.before.file or 0
    swappable = max(member.revocable - before, 0)
    return max(memory - (file or 0) - swappable, reservation)


def first(keeps: Iterable[int], reservation: int, *, capacity: int, least: int) -> int:
    """The most that a guest may hold that nobody has looked at yet, in bytes, a whole number of
    pages: what all others do not keep. ``reservation``: its own; see :func:`fences`."""
    room = max(capacity - sum(keeps) - least, reservation, FIRST)
    return room // PAGE * PAGE


def fences(
    free: Mapping[str, Member], keeps: Mapping[str, int], *, capacity: int, least: int
) -> dict[str, int]:
    """The most that each of ``free`` may hold, in bytes.

    ``keeps``: what each of all guests keeps; ``capacity``: bytes that all share; ``least``: bytes
    of it that are left for the others to grow by. Nobody's fence is below what he holds already or
    is promised, and a guest's own limit stays one.
    """
    everything = sum(keeps.values())
    made = {}
    for name, member in free.items():
        mine = keeps.get(name, 0)
        own = member.guest.spec.resources.memory or capacity
        room = max(capacity - (everything - mine) - least, member.use or 0, mine)
        made[name] = min(own, room)
    return made
