"""From what was asked for to the governor's tree: each guest's and group's three numbers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from wirt.engine.protocol import Size
from wirt.errors import Invalid, NotFound, Unsupported
from wirt.governor.tree import MOST_SHARES, SHARES, UNLIMITED, Claim, Group, Member, Resource
from wirt.model.group import GuestGroup, parent
from wirt.model.guest import GuestSpec
from wirt.model.resources import DOCKERS_SHARES, LEAST_NET_LIMIT, Resources
from wirt.model.units import format_size

OOM_RANKS = range(1001)
SizeOf = Callable[[GuestSpec], Size]
"""See :meth:`wirt.engine.protocol.Engine.size`."""
ANY_SIZE = Size()
HOST = ""
"""Path of the group that all others are in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lodger:
    """A guest that runs or is to run. ``also``: what it holds as well, while it is changed."""

    id: str
    spec: GuestSpec
    also: GuestSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for of one resource; None: nothing."""

    reservation: int | None
    limit: int | None
    shares: int | None


def asked(resources: Resources) -> dict[Resource, Asked]:
    """The three numbers of each resource as they were asked for; CPU shares are docker's."""
    r = resources
    return {
        Resource.CPU: Asked(
            reservation=r.cpu_reservation,
            limit=r.cpu_millis or None,
            shares=shares_of(r.cpu_shares),
        ),
        Resource.MEMORY: Asked(
            reservation=r.memory_reservation, limit=r.memory or None, shares=r.memory_shares
        ),
        Resource.DISK: Asked(
            reservation=r.io_reservation, limit=r.io_limit or None, shares=r.io_shares
        ),
        Resource.NET: Asked(
            reservation=r.net_reservation, limit=r.net_limit or None, shares=r.net_shares
        ),
    }


def shares_of(dockers: int | None) -> int | None:
    """Docker's CPU shares (2..262144, 1024 is normal) as ours (1..10000, 1000 is normal): the same
    proportions, rounded, and cut at 10000, which are 10240 of docker's."""
    if dockers is None:
        return None
    return min(max((dockers * SHARES + DOCKERS_SHARES // 2) // DOCKERS_SHARES, 1), MOST_SHARES)


def claims_of(resources: Resources, size: Size = ANY_SIZE) -> Mapping[Resource, Claim]:
    """The claims of a guest of that size, or of a group.

    Raises Invalid, saying which number is impossible; ``governor.reservation-above-limit`` when
    more shall be guaranteed than is allowed.
    """
    sizes = {Resource.MEMORY: size.memory, Resource.CPU: size.cpu_millis}
    return {
        resource: _claim(resource, wish, sizes.get(resource))
        for resource, wish in asked(resources).items()
    }


def _claim(resource: Resource, wish: Asked, size: int | None) -> Claim:
    kind = resource.value
    for what, number in (("reservation", wish.reservation), ("limit", wish.limit)):
        if number is not None and not 0 <= number <= UNLIMITED:
            raise Invalid(
                f"a {kind} {what} of {number} is out of range",
                hint=f"the largest is {told(resource, UNLIMITED)}",
                code="governor.out-of-range",
            )
    if wish.shares is not None and not 1 <= wish.shares <= MOST_SHARES:
        raise Invalid(
            f"{wish.shares} {kind} shares are out of range",
            hint=f"write 1 to {MOST_SHARES}; {SHARES} is normal",
            code="governor.out-of-range",
        )
    if resource is Resource.NET and wish.limit is not None and wish.limit < LEAST_NET_LIMIT:
        raise Invalid(
            f"a network limit of {told(resource, wish.limit)} is too small",
            hint=f"the smallest is {told(resource, LEAST_NET_LIMIT)}; 0 is no limit",
            code="governor.out-of-range",
        )
    limit = wish.limit if size is None else size
    reservation = wish.reservation or 0
    if limit is not None and reservation > limit:
        given, most = told_apart(resource, reservation, limit)
        raise Invalid(
            f"a {kind} reservation of {given} is above the limit of {most}",
            hint="what is guaranteed must be allowed: raise the limit or lower the reservation",
            code="governor.reservation-above-limit",
        )
    return Claim(
        reservation=reservation,
        limit=UNLIMITED if limit is None else limit,
        shares=wish.shares or SHARES,
    )


def check_rank(rank: int) -> None:
    """Raise Invalid for an OOM rank that is none."""
    if rank not in OOM_RANKS:
        raise Invalid(
            f"an OOM rank of {rank} is out of range",
            hint="write 0 (stopped first) to 1000 (stopped last); 500 is normal",
            code="governor.out-of-range",
        )


def check_divided(
    resources: Resources,
    *,
    divided: Collection[Resource],
    limited: Collection[Resource],
    weighed: Collection[Resource],
    known: Collection[Resource],
) -> None:
    """Raise Unsupported for what nobody would see to: what is not done is not promised.

    ``divided``: resources that are divided on this host. ``limited``: of which the limit is kept.
    ``weighed``: of which shares are. ``known``: those of which it is known how much there is; of
    others nothing can be guaranteed or divided by shares, unless the kernel weighs them.
    """
    for resource, wish in asked(resources).items():
        name = {Resource.DISK: "disk", Resource.NET: "network"}.get(resource, resource.value)
        more = bool(wish.reservation or (wish.shares and resource not in weighed))
        if resource not in divided and (more or (wish.limit and resource not in limited)):
            kept = _kept(resource in limited, resource in weighed)
            raise Unsupported(
                f"this host cannot divide its {name} between guests{_ONLY[kept]}",
                hint=f"give {' and '.join(kept)} only, or {_tell(resource)}"
                if kept
                else f"leave out the {name} flags",
                code="governor.not-divided",
            )
        if resource not in known and more:
            raise Unsupported(
                f"nobody has said how fast this host's {name} is, so no part of it can be promised",
                hint=f"give a limit only, or {_tell(resource)}",
                code="governor.capacity-unknown",
            )


_ONLY: Mapping[tuple[str, ...], str] = {
    (): "", ("a limit",): ", only limit it", ("shares",): ", only weigh it",
    ("a limit", "shares"): ", only limit and weigh it",
}  # fmt: skip


def _kept(limited: bool, weighed: bool) -> tuple[str, ...]:
    """What may be asked for nevertheless."""
    return (*["a limit"] * limited, *["shares"] * weighed)


def _tell(resource: Resource) -> str:
    unit = "200m" if resource is Resource.DISK else "1g"
    return (
        f'tell the governor\'s policy how fast it is: [governor.pool] {resource.value} = "{unit}"'
    )


def told(resource: Resource, amount: int) -> str:
    """An amount for people."""
    if resource is Resource.CPU:
        return f"{amount / 1000:g} CPUs"
    if resource is Resource.NET:
        for unit, scale in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
            if amount >= scale:
                return f"{amount / scale:.4g}{unit}bit/s"
        return f"{amount}bit/s"
    return format_size(amount) + ("/s" if resource is Resource.DISK else "")


def told_apart(resource: Resource, *amounts: int) -> list[str]:
    """As :func:`told`, but to the last unit where different amounts would look alike: nobody can
    do anything with "needs 1GiB, there is 1GiB"."""
    words = [told(resource, amount) for amount in amounts]
    if len(set(words)) == len(set(amounts)):
        return words
    if resource is Resource.CPU:
        return [f"{amount // 1000}.{amount % 1000:03} CPUs" for amount in amounts]
    unit = {Resource.NET: "bit/s", Resource.DISK: "B/s"}.get(resource, "B")
    return [f"{amount}{unit}" for amount in amounts]


def tree(guests: Iterable[Lodger], groups: Iterable[GuestGroup], size_of: SizeOf) -> Group:
    """The host as the governor sees it: groups by their paths, guests by their ids.

    Raises NotFound when a guest or a group is in a group that is not among ``groups``.
    """
    known = {group.path: group for group in groups}
    children: dict[str, list[Group | Member]] = {path: [] for path in (HOST, *known)}
    for guest in guests:
        require(guest.spec.group, known)
        children[guest.spec.group].append(_member(guest, size_of))
    for path in sorted(known, key=lambda one: one.count("/"), reverse=True):  # the deepest first
        group = known[path]
        above = parent(path)
        require(above, known)
        made = Group(
            name=path, claims=_clamped(group.resources, ANY_SIZE), expandable=group.expandable,
            children=_sorted(children[path]),
        )  # fmt: skip
        children[above].append(made)
    return Group(name=HOST, children=_sorted(children[HOST]))


def _member(guest: Lodger, size_of: SizeOf) -> Member:
    sizes = [size_of(spec) for spec in (guest.spec, guest.also) if spec is not None]
    claims = _clamped(guest.spec.resources, sizes[0])
    if guest.also is not None:
        other = _clamped(guest.also.resources, sizes[1])
        claims = {resource: _larger(claim, other[resource]) for resource, claim in claims.items()}
    return Member(name=guest.id, claims=claims, minimum=max(size.floor for size in sizes))


def _larger(one: Claim, other: Claim) -> Claim:
    return Claim(
        reservation=max(one.reservation, other.reservation),
        limit=max(one.limit, other.limit),
        shares=one.shares,
    )


def _clamped(resources: Resources, size: Size) -> dict[Resource, Claim]:
    """As :func:`claims_of`, but what was stored long ago and makes no sense now is cut down: one
    strange guest must not be in the way of all others."""
    found = {}
    sizes = {Resource.MEMORY: size.memory, Resource.CPU: size.cpu_millis}
    for resource, wish in asked(resources).items():
        given = sizes.get(resource)
        limit = min(max((wish.limit or UNLIMITED) if given is None else given, 0), UNLIMITED)
        found[resource] = Claim(
            reservation=min(max(wish.reservation or 0, 0), limit),
            limit=limit,
            shares=min(max(wish.shares or SHARES, 1), MOST_SHARES),
        )
    return found


def _sorted(children: Iterable[Group | Member]) -> tuple[Group | Member, ...]:
    return tuple(sorted(children, key=lambda one: one.name))


def require(path: str, known: Mapping[str, GuestGroup]) -> None:
    """Raises NotFound unless there is such a group; the host itself always is."""
    if path and path not in known:
        raise no_such_group(path)


def no_such_group(path: str) -> NotFound:
    """The error for a group that is not there."""
    return NotFound(
        f"no such group: {path[:80]}",
        hint="'wirt group ls' lists all groups, 'wirt group create' makes one",
        code="group.not-found",
    )
