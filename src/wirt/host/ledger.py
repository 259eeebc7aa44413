"""What was promised to whom, for people: each group's numbers and what is left of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from wirt.governor.admission import promised
from wirt.governor.tree import UNLIMITED, Group, Resource
from wirt.host.admit import UP, Admit
from wirt.host.claims import HOST
from wirt.host.groups import Groups
from wirt.host.roster import Roster
from wirt.model.group import GuestGroup
from wirt.model.guest import Guest
from wirt.model.resources import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """One resource of a group, in the units of :class:`wirt.model.resources.Resources`; ``limit``
    None: none. ``promised``: to running guests and groups in it. ``unreserved``: what can be
    promised besides, without asking the group above. ``shares``: 1..10000."""

    reservation: int
    limit: int | None
    shares: int
    promised: int
    unreserved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inmate:
    """A guest in a group, with its own reservations by the resource's name."""

    id: str
    name: str
    running: bool
    reservations: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A group with who is in it; the host itself has the empty path, and as its reservation what it
    has to promise. ``portions``: by the resource's name."""

    path: str
    resources: Resources
    expandable: bool
    created_at: int
    portions: dict[str, Portion]
    guests: tuple[Inmate, ...]


class Ledger:
    """Looks up what was promised."""

    def __init__(self, *, roster: Roster, groups: Groups, admit: Admit) -> None:
        self._roster = roster
        self._groups = groups
        self._admit = admit

    def all(self) -> list[Account]:
        """The host first, then every group in the order of their paths."""
        root = self._admit.tree()
        nodes = {node.name: node for node in _nodes(root)}
        whole = GuestGroup(path=HOST)
        return [self._account(group, nodes[group.path]) for group in (whole, *self._groups.all())]

    def of(self, path: str) -> Account:
        """One group. Raises NotFound."""
        group = self._groups.find(path)
        nodes = {node.name: node for node in _nodes(self._admit.tree())}
        return self._account(group, nodes[path])

    def _account(self, group: GuestGroup, node: Group) -> Account:
        return Account(
            path=group.path,
            resources=group.resources,
            expandable=group.expandable,
            created_at=group.created_at,
            portions=dict(self._portions(node)),
            guests=tuple(
                _inmate(guest) for guest in self._roster.all() if guest.spec.group == group.path
            ),
        )

    def _portions(self, node: Group) -> Iterator[tuple[str, Portion]]:
        host = self._admit.host()
        for resource in Resource:
            claim = node.claim(resource)
            own = claim.reservation if node.name != HOST else host.available(resource)
            inner = sum(promised(child, resource) for child in node.children)
            yield (
                resource.value,
                Portion(
                    reservation=own,
                    limit=None if claim.limit >= UNLIMITED else claim.limit,
                    shares=claim.shares,
                    promised=inner,
                    unreserved=max(own - inner, 0),
                ),
            )


def _nodes(group: Group) -> Iterator[Group]:
    yield group
    for child in group.children:
        if isinstance(child, Group):
            yield from _nodes(child)


def _inmate(guest: Guest) -> Inmate:
    r = guest.spec.resources
    reservations = {
        Resource.CPU.value: r.cpu_reservation,
        Resource.MEMORY.value: r.memory_reservation,
        Resource.DISK.value: r.io_reservation,
        Resource.NET.value: r.net_reservation,
    }
    return Inmate(
        id=guest.id,
        name=guest.name,
        running=guest.status.state in UP,
        reservations={name: amount for name, amount in reservations.items() if amount},
    )
