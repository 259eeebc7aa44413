"""Whether guests may start or change, and groups change: no promise is given that cannot be kept.

A promise counts from the moment when it is given, not only from when its guest runs, so of two who
ask at once for the last of something only one gets it. What runs already is never stopped for the
sake of a promise; when more was promised than there is (the host was given less), what adds nothing
to it is still admitted.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from wirt.engine.protocol import Engine, Size
from wirt.errors import Exhausted, Unsupported
from wirt.governor.admission import Host, Shortage, promised, shortages
from wirt.governor.tree import Claim, Group, Member, Resource
from wirt.host.capacity import Capacity
from wirt.host.claims import (
    HOST,
    Lodger,
    check_divided,
    check_rank,
    claims_of,
    told,
    told_apart,
    tree,
)
from wirt.host.governing import idling
from wirt.host.groups import Groups
from wirt.host.roster import Roster
from wirt.model.group import GuestGroup
from wirt.model.guest import Guest, GuestSpec, GuestState, Isolation
from wirt.model.resources import Resources

UP = frozenset({GuestState.RUNNING, GuestState.PAUSED})
LODGING = UP | {GuestState.RESTARTING}
"""States in which a guest has been promised what it asked for."""
FLAGS = {Resource.CPU: "cpu", Resource.MEMORY: "memory", Resource.DISK: "io", Resource.NET: "net"}
_WORDS = {
    Resource.CPU: "",
    Resource.MEMORY: " of memory",
    Resource.DISK: " of the disks",
    Resource.NET: " of the network",
}


class Admit:
    """Gives promises, and remembers those of guests that are about to run or to change."""

    def __init__(
        self,
        *,
        roster: Roster,
        groups: Groups,
        engines: Mapping[Isolation, Engine],
        capacity: Capacity,
    ) -> None:
        self._roster = roster
        self._groups = groups
        self._engines = engines
        self._capacity = capacity
        self._held: dict[str, Lodger] = {}
        self._moving: dict[str, str] = {}
        self._kept: Counter[str] = Counter()

    def host(self) -> Host:
        """What there is to promise."""
        return self._capacity.host()

    def tree(self) -> Group:
        """Who was promised what now, those that are about to run among them; each guest once. The
        limit of the whole is what the host has."""
        most = {r: Claim(limit=amount) for r, amount in self.host().capacity.items()}
        lodgers = [
            Lodger(id=guest.id, spec=guest.spec)
            for guest in self._roster.all()
            if guest.status.state in UP or guest.id in self._held
        ]
        return replace(self._tree(lodgers), claims=most)

    def size(self, spec: GuestSpec) -> Size:
        """How large a guest of this kind is."""
        return self._engines[spec.isolation].size(spec)

    def check(self, spec: GuestSpec) -> None:
        """Raise Invalid, Unsupported or NotFound for claims that can never be fulfilled here."""
        claims_of(spec.resources, self.size(spec))
        self._check_divided(spec.resources, limited=self._capacity.limited)
        check_rank(spec.oom_rank)
        idling.check(spec)
        if spec.resources.net_limit and spec.network_mode:
            raise Unsupported(
                f"--net-limit needs network cards of the guest's own, not --network "
                f"{spec.network_mode.replace('guest:', 'container:')[:80]}",
                hint="leave one of the two out",
                code="network.not-shaped",
            )
        self._groups.require(spec.group)

    def check_group(self, resources: Resources) -> None:
        """The same for a group, which has no limits but those that somebody divides by."""
        claims_of(resources)
        self._check_divided(resources, limited=frozenset())

    def _check_divided(self, resources: Resources, *, limited: frozenset[Resource]) -> None:
        known, r = self.host().capacity.keys(), resources
        about_disks = bool(r.io_reservation or r.io_limit or r.io_shares)
        check_divided(
            resources, divided=self._capacity.divided, limited=limited, known=known,
            weighed=self._capacity.weighed if about_disks else (),  # the kernel is looked at for it
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def joining(self, path: str) -> AsyncIterator[None]:
        """A guest may appear in that group in this block. Raises NotFound when it has gone."""
        async with self._groups.changing:
            self._groups.require(path)
            yield

    def holding(self, path: str) -> Iterator[Guest]:
        """Guests in that very group, running or not, and those about to be."""
        for guest in self._roster.all():
            if path in {guest.spec.group, self._moving.get(guest.id, guest.spec.group)}:
                yield guest

    @contextlib.asynccontextmanager
    async def start(self, guest: Guest, *, again: bool) -> AsyncIterator[None]:
        """The guest may start in this block, at whose end it runs or has failed.

        ``again``: its restart policy wants it, so it need not wait for others that are to be
        restarted too. Raises Exhausted (``governor.promise``) with the figures.
        """
        async with self._groups.changing:
            others = self._lodgers(UP if again else LODGING, but=guest.id)
            own = Lodger(id=guest.id, spec=guest.spec)
            before = self._tree(others)
            self._judge(guest, before, self._tree([*others, own]), without=before)
            self._held[guest.id] = own
        try:
            yield
        finally:
            del self._held[guest.id]

    @contextlib.contextmanager
    def keeping(self, guest: Guest) -> Iterator[None]:
        """Meanwhile the guest keeps what it was promised, if it runs now: it will run again."""
        kept = self._roster.get(guest.id).status.state in LODGING
        self._kept[guest.id] += kept
        try:
            yield
        finally:
            self._kept[guest.id] -= kept
            self._kept += Counter()  # those at zero go

    @contextlib.asynccontextmanager
    async def change(self, guest: Guest, spec: GuestSpec) -> AsyncIterator[None]:
        """The guest may become ``spec`` in this block; until its end it holds what it had, too.

        Raises Exhausted when it runs and cannot be promised that; NotFound for its group.
        """
        async with self._groups.changing:
            self._groups.require(spec.group)
            if guest.status.state in LODGING:
                others = self._lodgers(LODGING, but=guest.id)
                before, after = (Lodger(id=guest.id, spec=one) for one in (guest.spec, spec))
                self._judge(
                    guest, self._tree([*others, before]), self._tree([*others, after]),
                    without=self._tree(others),
                )  # fmt: skip
                self._held[guest.id] = replace(before, also=spec)
            self._moving[guest.id] = spec.group
        try:
            yield
        finally:
            self._held.pop(guest.id, None)
            del self._moving[guest.id]

    def judge_groups(self, groups: Iterable[GuestGroup]) -> None:
        """Raise Exhausted when the groups cannot become these; the caller holds ``changing``."""
        lodgers = self._lodgers(LODGING)
        before = self._tree(lodgers)
        self._judge(None, before, tree(lodgers, groups, self.size), without=before)

    def _tree(self, lodgers: Iterable[Lodger]) -> Group:
        return tree(lodgers, self._groups.all(), self.size)

    def _lodgers(self, states: frozenset[GuestState], *, but: str = "") -> list[Lodger]:
        """Who holds a promise. A guest that changes holds the larger one of before and after; if
        it moves, it holds the one in its old group and the other in its new one."""
        found = []
        for guest in self._roster.all():
            held = self._held.get(guest.id)
            there = held is not None or guest.id in self._kept or guest.status.state in states
            if guest.id == but or not there:
                continue
            held = held or Lodger(id=guest.id, spec=guest.spec)
            if held.also is None or held.also.group == held.spec.group:
                found.append(held)
            else:
                found += [Lodger(id=held.id, spec=spec) for spec in (held.spec, held.also)]
        return found

    def _judge(self, guest: Guest | None, before: Group, after: Group, *, without: Group) -> None:
        """Raise Exhausted when more is missing after than before. ``without``: the guest, for the
        figures."""
        host = self.host()
        missing = {_place(one): one.needed - one.free for one in shortages(before, host)}
        for found in shortages(after, host):
            if found.needed - found.free > missing.get(_place(found), 0):
                raise self._refusal(guest, found, without)

    def _refusal(self, guest: Guest | None, found: Shortage, without: Group) -> Exhausted:
        place = f"in group {found.group!r}" if found.group != HOST else "on this host"
        there = _find(without, found.group)
        taken = 0 if there is None else _taken(there, found)
        needs, free = found.needed - taken, max(found.free - taken, 0)
        what = _WORDS[found.resource]
        amounts = told_apart(found.resource, needs, free)
        if guest is None or needs <= 0:
            promises, there_is = told_apart(found.resource, found.needed, found.free)
            text = f"{promises}{what} would be promised {place}, which has {there_is}"
        elif found.floor:
            text = (
                f"guest {guest.name!r} needs at least {amounts[0]}{what}, and others leave "
                f"{amounts[1]} {place}"
            )
        else:
            text = (
                f"guest {guest.name!r} needs {amounts[0]}{what} guaranteed, {amounts[1]} are "
                f"unreserved {place}"
            )
        facts: dict[str, str | int] = {
            "resource": found.resource.value, "group": found.group, "needed": needs, "free": free,
        }  # fmt: skip
        cures = []
        largest = (
            None if there is None else _largest(there, found, but="" if guest is None else guest.id)
        )
        if largest is not None:
            name = self._roster.get(largest.name).name
            amount = _need(largest, found)
            facts |= {"releasable": name, "releasable_amount": amount}
            cures.append(
                f"guest {name!r} has the most to release, {told(found.resource, amount)}: stop it, "
                f"or 'wirt update --{FLAGS[found.resource]}-reservation' lowers it"
            )
        if found.group:
            cures.append(
                f"'wirt group set' gives group {found.group!r} more or makes it expandable"
            )
        hint = "; ".join(cures) or "ask for less"
        return Exhausted(text, hint=hint, code="governor.promise", **facts)


def _place(found: Shortage) -> tuple[Resource, str, bool]:
    return found.resource, found.group, found.floor


def _find(root: Group, name: str) -> Group | None:
    if root.name == name:
        return root
    inner = (_find(child, name) for child in root.children if isinstance(child, Group))
    return next((one for one in inner if one is not None), None)


def _taken(group: Group, found: Shortage) -> int:
    if found.floor:
        return sum(_need(member, found) for member in group.members())
    return sum(promised(child, found.resource) for child in group.children)


def _need(member: Member, found: Shortage) -> int:
    reservation = member.claim(found.resource).reservation
    return max(member.minimum, reservation) if found.floor else reservation


def _largest(group: Group, found: Shortage, *, but: str) -> Member | None:
    """The guest there with the most to release."""
    others: Sequence[Member] = [m for m in group.members() if m.name != but and _need(m, found)]
    return max(others, key=lambda member: (_need(member, found), member.name), default=None)
