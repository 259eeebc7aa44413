"""Where a guest that grows ends, before the pool is full (version 2 of control groups). Pure.

``memory.high`` slows down, but nobody is stopped by it: a bomb creeps on, and at the limit of the
pool the kernel ends whoever is largest. So each guest has a line, ``memory.max``: what the others
cannot give back is not its to take, nor what keepers hold. The lines of all do not add up to what
there is, for each may have what nobody uses now; so a line is no share, and files' caches are
dropped at it, not killed for. They move with what guests keep.

Who has grown lately stops short of the rest: that is left to those who have not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from wirt.governor.tree import UNLIMITED, Group, Resource
from wirt.governor.tree import Member as Leaf
from wirt.host.governing.fence import kept
from wirt.host.governing.member import PAGE, Member

LEAST = 4 << 20
"""Bytes without which nothing starts, even where nothing is left."""
FORGETS = 10.0
"""Seconds in which most of a growth is forgotten."""
_PART, _MOST = 16, 32 << 20
_THIN = 4
"""Into so many parts the spare is divided: one stays free whoever grows, and to grow by one is no
growth yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """``keeps``: bytes that cannot be had of each. ``grows``: who has grown lately."""

    keeps: Mapping[str, int]
    grows: Mapping[str, bool]


def spare(capacity: int) -> int:
    """Bytes that stay free beside somebody who grows: a sixteenth, 32 MiB at most."""
    return min(capacity // _PART, _MOST)


def lines(
    members: Mapping[str, Member], root: Group, *, capacity: int, seconds: float
) -> dict[str, int]:
    """The line of each, in bytes, whole pages, at most its own limit; after a look at all.

    ``capacity``: bytes that these members share and no one else holds. ``seconds``: since the look
    before.
    """
    claims = root.claims_to(Resource.MEMORY)
    hold = {n: (m.settled or 0) if m.use is None else kept(m, 0) for n, m in members.items()}
    least = spare(capacity) // _THIN
    look = _Look(
        keeps={n: max(hold[n], claims[n].reservation) for n in members},
        grows={n: _settle(one, hold[n], seconds) > least for n, one in members.items()},
    )
    found: dict[str, int] = {}
    _below(root, capacity, look, found, alone=least)
    made = {}
    for name, member in members.items():
        line = max(found[name], claims[name].reservation, LEAST) // PAGE * PAGE
        made[name] = line if member.own is None else min(line, member.own)
    return made


def astray(member: Member, line: int, capacity: int) -> bool:
    """Whether its line is far enough from where it should be for a write: the nearer it is, the
    less it may be wrong."""
    if member.most is None:
        return True
    room = max(min(member.most, line) - (member.use or 0), 0)
    return abs(member.most - line) > max(room // 8, spare(capacity) // 8)


def _below(group: Group, most: int, look: _Look, found: dict[str, int], *, alone: int = 0) -> int:
    """Add the lines of those below ``group``, which may have ``most`` bytes; what they keep.
    ``alone``: bytes that stay free beside somebody who has them all."""
    inner: dict[str, int] = {}
    keeps = 0
    for child in group.children:
        if isinstance(child, Leaf):
            if child.name in look.keeps:
                keeps += look.keeps[child.name]
                inner[child.name] = UNLIMITED
        else:
            keeps += _below(child, child.claim(Resource.MEMORY).limit, look, inner)
    left = spare(most) if len(inner) > 1 else alone
    for name, line in inner.items():
        stays = left if look.grows[name] else min(left, spare(most) // _THIN)
        found[name] = min(line, most - (keeps - look.keeps[name]) - stays)
    return keeps


def _settle(member: Member, hold: int, seconds: float) -> int:
    """Bytes by which it has grown lately."""
    if member.settled is None or hold < member.settled:
        member.settled = hold
    grown = hold - member.settled
    member.settled += int(grown * (1 - math.exp(-seconds / FORGETS)))
    return grown
