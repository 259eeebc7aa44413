"""Whether a promise can be given: exact sums of reservations at every level, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
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

    ``releasable``: the guest with the largest reservation there, and how much it is.
    """

    resource: Resource
    group: str
    needed: int
    free: int
    releasable: tuple[str, int] | None = None


def shortage(root: Group, host: Host) -> Shortage | None:
    """The first promise in this tree that cannot be kept, None when all can.

    Rules: in each group the reservations of its children fit into its own; an expandable one may
    take the excess from what its parent has left. At the root they fit into the host. And what all
    guests need at least, together, fits into the memory that may be overcommitted.
    """
    for resource in Resource:
        if resource not in host.capacity:
            continue
        found = _check(root, resource, host.available(resource))
        if found is not None:
            return found
    needed = sum(max(m.minimum, m.claim(Resource.MEMORY).reservation) for m in root.members())
    free = host.available(Resource.MEMORY) * host.overcommit // 1000
    if needed > free and Resource.MEMORY in host.capacity:
        return Shortage(
            resource=Resource.MEMORY, group=root.name, needed=needed, free=free,
            releasable=_largest(root, Resource.MEMORY),
        )  # fmt: skip
    return None


def promised(node: Group | Member, resource: Resource) -> int:
    """What a node takes from its parent: its reservation, or more if its children were promised
    more and it is expandable."""
    own = node.claim(resource).reservation
    if isinstance(node, Member):
        return own
    inner = sum(promised(child, resource) for child in node.children)
    return max(own, inner) if node.expandable else own


def _check(group: Group, resource: Resource, available: int) -> Shortage | None:
    needed = sum(promised(child, resource) for child in group.children)
    if needed > available:
        return Shortage(
            resource=resource, group=group.name, needed=needed, free=available,
            releasable=_largest(group, resource),
        )  # fmt: skip
    for child in group.children:
        if isinstance(child, Group):
            inner = promised(child, resource)
            found = _check(child, resource, inner)
            if found is not None:
                return found
    return None


def _largest(group: Group, resource: Resource) -> tuple[str, int] | None:
    reserved = [(m.claim(resource).reservation, m.name) for m in group.members()]
    reserved = [pair for pair in reserved if pair[0] > 0]
    if not reserved:
        return None
    amount, name = max(reserved)
    return name, amount
