"""Whether a promise can be given: exact sums of reservations at every level, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wirt.governor.tree import Group, Member, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What there is to promise. ``reserve``: what the host keeps for itself and never lends.

    ``overcommit``: how much of the memory that guests need at least may be there, as a fraction in
    thousandths; above 1000 only with swap.
    """

    capacity: Mapping[Resource, int]
    reserve: Mapping[Resource, int]
    overcommit: int = 1000

    def available(self, resource: Resource) -> int:
        """What may be promised."""
        return max(self.capacity.get(resource, 0) - self.reserve.get(resource, 0), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """Why not. ``needed`` units of ``resource`` in ``group``, of which ``free`` are unpromised.

    ``releasable``: the guest with the largest reservation there, and how much it is. ``floor``: not
    the promises are too many, but what all guests need at least does not fit.
    """

    resource: Resource
    group: str
    needed: int
    free: int
    releasable: tuple[str, int] | None = None
    floor: bool = False


def shortage(root: Group, host: Host) -> Shortage | None:
    """The first of all :func:`shortages`, None when every promise can be kept."""
    return next(shortages(root, host), None)


def shortages(root: Group, host: Host) -> Iterator[Shortage]:
    """Every group of this tree whose promises cannot be kept.

    Rules: in each group the reservations of its children fit into its own; an expandable one may
    take the excess from what its parent has left, up to its own limit. At the root they fit into
    the host. And what all guests need at least, together, fits into the memory that may be
    overcommitted.
    """
    for resource in Resource:
        if resource not in host.capacity:
            continue
        yield from _check(root, resource, host.available(resource))
    needed = sum(max(m.minimum, m.claim(Resource.MEMORY).reservation) for m in root.members())
    free = host.available(Resource.MEMORY) * host.overcommit // 1000
    if needed > free and Resource.MEMORY in host.capacity:
        yield Shortage(
            resource=Resource.MEMORY, group=root.name, needed=needed, free=free,
            releasable=_largest(root, Resource.MEMORY), floor=True,
        )  # fmt: skip


def promised(node: Group | Member, resource: Resource) -> int:
    """What a node takes from its parent: its reservation, or more if its children were promised
    more and it is expandable."""
    own = node.claim(resource).reservation
    if isinstance(node, Member):
        return own
    inner = sum(promised(child, resource) for child in node.children)
    return max(own, inner) if node.expandable else own


def _check(group: Group, resource: Resource, available: int) -> Iterator[Shortage]:
    needed = sum(promised(child, resource) for child in group.children)
    if needed > available:
        yield Shortage(
            resource=resource, group=group.name, needed=needed, free=available,
            releasable=_largest(group, resource),
        )  # fmt: skip
    for child in group.children:
        if isinstance(child, Group):
            inner = min(promised(child, resource), child.claim(resource).limit)
            yield from _check(child, resource, inner)


def _largest(group: Group, resource: Resource) -> tuple[str, int] | None:
    reserved = [(m.claim(resource).reservation, m.name) for m in group.members()]
    reserved = [pair for pair in reserved if pair[0] > 0]
    if not reserved:
        return None
    amount, name = max(reserved)
    return name, amount
