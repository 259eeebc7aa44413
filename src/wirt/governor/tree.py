"""Who may have how much: guests in groups of any depth, each with three numbers a resource.

Units: CPU in millicores, memory in bytes, disk in bytes a second, network in bits a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from wirt.errors import Invalid

SHARES = 1000
"""The normal weight."""
MOST_SHARES = 10_000
UNLIMITED = 2**62


class Resource(Enum):
    """What is divided."""

    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"
    NET = "net"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """``reservation`` is guaranteed, ``limit`` is never passed, ``shares`` weigh what lies between.

    Raises Invalid unless ``0 <= reservation <= limit <= UNLIMITED`` and ``1 <= shares <= 10000``.
    """

    reservation: int = 0
    limit: int = UNLIMITED
    shares: int = SHARES

    def __post_init__(self) -> None:
        if not 0 <= self.reservation <= UNLIMITED or not 0 <= self.limit <= UNLIMITED:
            raise Invalid(
                f"a reservation of {self.reservation} with a limit of {self.limit} is out of range",
                hint="both are zero or more",
            )
        if self.reservation > self.limit:
            raise Invalid(
                f"the reservation {self.reservation} is above the limit {self.limit}",
                hint="what is guaranteed must be allowed: raise the limit or lower the reservation",
                code="governor.reservation-above-limit",
            )
        if not 1 <= self.shares <= MOST_SHARES:
            raise Invalid(
                f"{self.shares} shares are out of range", hint=f"shares are 1 to {MOST_SHARES}"
            )


FREE = Claim()
"""Nothing promised, nothing forbidden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A running guest as a leaf. ``minimum``: bytes of memory without which it cannot run."""

    name: str
    claims: Mapping[Resource, Claim] = field(default_factory=dict)
    minimum: int = 0

    def claim(self, resource: Resource) -> Claim:
        """Its three numbers; :data:`FREE` when none were given."""
        return self.claims.get(resource, FREE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A tenant or department. ``expandable``: may promise what its parent has not promised yet.

    The root is a group too; its reservation is what the host has to give.
    """

    name: str
    claims: Mapping[Resource, Claim] = field(default_factory=dict)
    expandable: bool = False
    children: tuple[Group | Member, ...] = ()

    def claim(self, resource: Resource) -> Claim:
        """Its three numbers; :data:`FREE` when none were given."""
        return self.claims.get(resource, FREE)

    def claims_to(self, resource: Resource) -> dict[str, Claim]:
        """The three numbers of all guests below, by name."""
        return {member.name: member.claim(resource) for member in self.members()}

    def members(self) -> Iterator[Member]:
        """All guests below."""
        for child in self.children:
            if isinstance(child, Member):
                yield child
            else:
                yield from child.members()
