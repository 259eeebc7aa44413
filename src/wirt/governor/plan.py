"""What each guest and group is entitled to: what it must keep, needs, who still grows, shares."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from wirt.governor.fill import Slot, fill
from wirt.governor.tree import Group, Member, Resource


class Want(NamedTuple):
    """What a guest wants of one resource now. ``hungry``: it would take more, at once.

    ``lendable``: what it does not use of its reservation may be lent, since it comes back fast.
    ``kept``: of the amount, what cannot be taken from it. ``modest``: of what nobody wants it takes
    nothing, since it gives back slowly; so that is free for whoever grows.
    """

    amount: int = 0
    kept: int = 0
    hungry: bool = False
    lendable: bool = False
    modest: bool = False


NOTHING = Want()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlements:
    """Units by name, of the guests and of the groups."""

    members: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)


class _Need(NamedTuple):
    """A node with everything that dividing needs, its children's needs summed up."""

    node: Group | Member
    key: str
    floor: int
    kept: int
    want: int
    limit: int
    shares: int
    hungry: bool
    most: int
    children: tuple[_Need, ...] = ()


def entitle(
    root: Group, resource: Resource, capacity: int, wants: Mapping[str, Want]
) -> Entitlements:
    """Divide ``capacity`` units among all guests below ``root``.

    A guest without a want wants nothing. The sum of what the children of a group get is at most
    what the group gets, and the sum at the top is at most the capacity.
    """
    members: dict[str, int] = {}
    groups: dict[str, int] = {}
    _divide(_need(root, resource, wants), capacity, members, groups)
    return Entitlements(members=members, groups=groups)


def due(
    root: Group, resource: Resource, capacity: int, among: Collection[str] | None = None
) -> Mapping[str, int]:
    """What each guest is entitled to when all want everything; ``among``: only those take part."""
    wants = {
        leaf.name: Want(amount=leaf.claim(resource).limit, hungry=True)
        for leaf in root.members()
        if among is None or leaf.name in among
    }
    return entitle(root, resource, capacity, wants).members


def _divide(need: _Need, amount: int, members: dict[str, int], groups: dict[str, int]) -> None:
    if isinstance(need.node, Member):
        members[need.node.name] = amount
        return
    groups[need.node.name] = amount
    shares = _rounds(amount, need.children)
    for child in need.children:
        _divide(child, shares[child.key], members, groups)


def _rounds(capacity: int, needs: tuple[_Need, ...]) -> dict[str, int]:
    """Four fills, each from where the one before left off, as long as anything is left; the first
    gives what nobody can take."""
    got = fill(capacity, [_slot(n, n.floor, max(n.floor, n.kept)) for n in needs])
    for ceiling in _CEILINGS:
        if sum(got.values()) >= capacity:
            break
        got = fill(capacity, [_slot(n, got[n.key], max(ceiling(n), got[n.key])) for n in needs])
    return got


def _hungrily(need: _Need) -> int:
    return need.limit if need.hungry else 0


_CEILINGS: tuple[Callable[[_Need], int], ...] = (
    attrgetter("want"), _hungrily, attrgetter("most"),
)  # fmt: skip


def _slot(need: _Need, floor: int, ceiling: int) -> Slot:
    return Slot(need.key, floor, ceiling, need.shares)


def _need(node: Group | Member, resource: Resource, wants: Mapping[str, Want]) -> _Need:
    claim = node.claim(resource)
    if isinstance(node, Member):
        want = wants.get(node.name, NOTHING)
        kept = resource is Resource.MEMORY and not want.lendable
        amount = min(max(want.amount, claim.reservation if kept else 0), claim.limit)
        return _Need(
            node=node,
            key=f"guest/{node.name}",
            floor=claim.reservation if kept else min(claim.reservation, amount),
            kept=min(want.kept, amount),
            want=amount,
            limit=claim.limit,
            shares=claim.shares,
            hungry=want.hungry,
            most=amount if want.modest else claim.limit,
        )
    children = tuple(_need(child, resource, wants) for child in node.children)
    limit = min(claim.limit, sum(child.limit for child in children))
    floors = sum(child.floor for child in children)
    sought = sum(child.want for child in children)
    least = claim.reservation if resource is Resource.MEMORY else min(claim.reservation, sought)
    floor = min(max(least, floors), limit)
    return _Need(
        node=node,
        key=f"group/{node.name}",
        floor=floor,
        kept=min(sum(child.kept for child in children), limit),
        want=min(max(sought, floor), limit),
        limit=limit,
        shares=claim.shares,
        hungry=any(child.hungry for child in children),
        most=min(limit, sum(child.most for child in children)),
        children=children,
    )
