"""Who is governed now: every live guest that should be up, each run of it a member of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from wirt.errors import NotFound
from wirt.governor.tree import Group, Resource
from wirt.governor.tree import Member as Leaf
from wirt.host.admit import UP, Admit
from wirt.host.governing import disk, line
from wirt.host.governing.inside import overhead
from wirt.host.governing.member import (
    UNKNOWN,
    Member,
    kernel_disk_weight,
    kernel_line,
    kernel_protection,
    kernel_rate,
    kernel_weight,
)
from wirt.host.groups import Groups
from wirt.host.roster import Roster
from wirt.host.running import Running
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups, Mode, flat, read_file
from wirt.linux.interface import Interfaces
from wirt.linux.readings import Holding, Readings
from wirt.model.guest import Guest, GuestState, Isolation


class Roll:
    """Members by guest id, and the tree of their claims."""

    def __init__(
        self,
        *,
        layout: Layout,
        cgroups: Cgroups,
        roster: Roster,
        running: Running,
        admit: Admit,
        groups: Groups,
    ) -> None:
        self._layout = layout
        self._cgroups = cgroups
        self._roster = roster
        self._running = running
        self._admit = admit
        self._groups = groups
        self._interfaces = Interfaces()
        self._tree: tuple[object, object, Group] | None = None
        """What it was made of, by id, those values, which must live as long, and the tree."""
        self._rates: Mapping[str, int] = {}
        self.members: dict[str, Member] = {}

    @property
    def v2(self) -> bool:
        """Whether control groups have soft limits."""
        return self._cgroups.mode is Mode.V2

    def asleep(self) -> frozenset[str]:
        """Who sleeps until somebody wants something of it."""
        return frozenset(name for name, m in self.members.items() if m.guest.status.asleep)

    def anybody(self) -> bool:
        """Whether any guest is live."""
        return bool(self.live())

    def live(self) -> tuple[str, ...]:
        """Ids of all live guests."""
        return self._running.ids()

    def sync(self) -> None:
        """Take on who is new, let go of who is gone."""
        for guest_id in tuple(self.members):
            member = self.members[guest_id]
            if self._running.get(guest_id) is not member.live or member.live.over:
                member.close()
                del self.members[guest_id]
        for guest_id in self._running.ids():
            live = self._running.get(guest_id)
            with contextlib.suppress(NotFound):  # just removed
                guest = self._roster.get(guest_id)
                if live is None or live.over or guest.status.state not in UP:
                    continue
                if guest_id in self.members:
                    self._renew(self.members[guest_id], guest)
                    self._look_whether_frozen(self.members[guest_id])
                    continue
                path = self._layout.cgroup(guest_id)
                container = guest.spec.isolation is Isolation.CONTAINER
                floor, low = kernel_protection(self._cgroups, path)
                cards = self._interfaces.named(self._layout.link_alias(guest_id))
                self.members[guest_id] = Member(
                    guest=guest, live=live, v2=self._cgroups.mode is Mode.V2,
                    readings=Readings(self._cgroups, path, cards=cards),
                    cpu=kernel_weight(self._cgroups, path),
                    floor=floor, low=low, most=kernel_line(self._cgroups, path),
                    disk_weight=kernel_disk_weight(self._cgroups, path),
                    disk=kernel_rate(self._cgroups, path) if container else UNKNOWN,
                    frozen=guest.status.state is GuestState.RUNNING and self._cgroups.frozen(path),
                    size=None if container else self._admit.size(guest.spec).memory,
                )  # fmt: skip

    def _renew(self, member: Member, guest: Guest) -> None:
        """Take over what its user changed. A container's new limit of its disks and its reservation
        stand in the kernel already: to write a limit again could undo the next one. Weights were
        written over the governor's, even those that are as before."""
        if member.guest is not guest:
            self._read_weights(member)
        before, now = member.guest.spec.resources, guest.spec.resources
        if before.io_limit != now.io_limit and member.container:
            member.disk = now.io_limit or 0
        member.guest = guest
        if before.memory_reservation != now.memory_reservation and member.container:
            member.low = member.safe_low
        if before.memory != now.memory and not member.container:
            member.size = self._admit.size(guest.spec).memory

    def _look_whether_frozen(self, member: Member) -> None:
        """Its user may have paused it meanwhile, or the helper have thawed it, of itself."""
        if member.guest.status.state is GuestState.PAUSED:
            member.frozen = False
        elif member.frozen and not member.freezing:
            member.frozen = self._cgroups.frozen(self._layout.cgroup(member.guest.id))

    def clear(self) -> None:
        """Let go of all."""
        for member in self.members.values():
            member.close()
        self.members.clear()

    def read_weights(self) -> None:
        """Look again at what the kernel has: others may have written."""
        for guest_id, member in self.members.items():
            self._read_weights(member)
            path = self._layout.cgroup(guest_id)
            member.floor, member.low = kernel_protection(self._cgroups, path)

    def _read_weights(self, member: Member) -> None:
        path = self._layout.cgroup(member.guest.id)
        member.cpu = kernel_weight(self._cgroups, path)
        member.disk_weight = kernel_disk_weight(self._cgroups, path)

    def lines(
        self, members: Mapping[str, Member], root: Group, *, pool: int | None, seconds: float
    ) -> dict[str, int]:
        """Where these end before the pool is full, of which they share so many bytes: see
        :func:`wirt.host.governing.line.lines`. Nowhere without a pool, and with version 1."""
        if pool is None or not self.v2:
            return {}
        left = max(pool - self.others(), 0)
        return line.lines(members, root, capacity=left, seconds=seconds)

    def others(self, held: Mapping[str, Holding] | None = None) -> int:
        """Bytes that others than guests hold in the instance's group, keepers above all, and the
        kernel cannot drop. With version 2; 0 where it does not tell. ``held``: by all guests now,
        for what they came to hold since the last look is not others'."""
        directory = self._cgroups.directory("memory", f"/{self._layout.name}")
        if directory is None or not self.v2:
            return 0
        stat = flat(read_file(directory / "memory.stat"))
        everything = int(read_file(directory / "memory.current").strip() or 0)
        caches = stat.get("inactive_file", 0) + stat.get("active_file", 0)
        if held is None:
            held = {name: _last(one) for name, one in self.members.items()}
        theirs = sum((memory or 0) - (file or 0) for memory, file in held.values())
        return max(everything - caches - theirs, 0)

    def tree(self) -> Group:
        """The claims of the members, made anew when anything of them has changed."""
        asked = (*(m.guest.spec for m in self.members.values()), *self._groups.all())
        key = (*self.members, *map(id, asked))
        if self._tree is None or self._tree[0] != key:
            found = prune(self._admit.tree(), self.members.__contains__)
            self._tree = (key, asked, found)
            self._rates = disk.ungoverned(found)
        for guest_id, member in self.members.items():
            member.group_disk = self._rates.get(guest_id, 0)
        return self._tree[2]

    def containers(self) -> dict[str, Member]:
        """The members whose memory is divided by control groups."""
        return {name: member for name, member in self.members.items() if member.container}

    def elastic(self) -> dict[str, Member]:
        """The machines that tell how their memory goes."""
        return {
            name: member
            for name, member in self.members.items()
            if member.inside is not None and member.inside.memory is not None
        }


def _last(member: Member) -> Holding:
    """What it held when it was looked at last."""
    return (None, None) if member.before is None else (member.before.memory, member.before.file)


def prune(group: Group, wanted: Callable[[str], bool]) -> Group:
    """The same tree with only some of its guests; groups without any are left out."""
    children: list[Group | Leaf] = []
    for child in group.children:
        if isinstance(child, Leaf):
            if wanted(child.name):
                children.append(child)
            continue
        inner = prune(child, wanted)
        if inner.children:
            children.append(inner)
    return Group(
        name=group.name, claims=group.claims, expandable=group.expandable,
        children=tuple(children),
    )  # fmt: skip


def fixed(root: Group, members: Mapping[str, Member]) -> int:
    """Bytes that machines hold and that are not divided: of one that tells how its memory goes what
    QEMU has beside it, of any other its size."""
    total = 0
    for leaf in root.members():
        member = members[leaf.name]
        if member.container:
            continue
        limit, inside = leaf.claim(Resource.MEMORY).limit, member.inside
        if inside is not None and inside.memory is not None:
            total += overhead(limit, use=member.kept, left=inside.holds)
        else:
            total += min(limit, max(member.use or 0, leaf.minimum))
    return total
