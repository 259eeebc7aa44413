"""Make, change and remove groups of guests."""

from __future__ import annotations

import time
from dataclasses import replace

from wirt.errors import Conflict, Invalid, Unsupported
from wirt.host.admit import Admit
from wirt.host.events import Bus
from wirt.host.groups import Groups
from wirt.model.group import GuestGroup, check_path, parent
from wirt.model.resources import CPU_SHARES, DOCKERS_SHARES, Resources, merge


class Grouping:
    """The verbs of groups."""

    def __init__(self, *, groups: Groups, admit: Admit, bus: Bus) -> None:
        self._groups = groups
        self._admit = admit
        self._bus = bus

    async def create(self, path: str, resources: Resources, *, expandable: bool) -> GuestGroup:
        """Make a group below one that exists.

        Raises Invalid, NotFound for the one above, Conflict when it exists, Exhausted when its
        reservation cannot be promised.
        """
        check_path(path)
        resources = merge(Resources(), resources)
        check_own(resources)
        self._admit.check_group(resources)
        group = GuestGroup(
            path=path, resources=resources, expandable=expandable, created_at=time.time_ns()
        )
        async with self._groups.changing:
            self._groups.require(parent(path))
            if self._groups.get(path) is not None:
                raise Conflict(
                    f"group {path!r} exists already",
                    hint=f"'wirt group set {path}' changes it",
                    code="group.exists",
                )
            self._admit.judge_groups([*self._groups.all(), group])
            await self._groups.put(group)
        self._bus.publish("group", "create", path, name=path)
        return group

    async def change(
        self, path: str, resources: Resources, *, expandable: bool | None
    ) -> GuestGroup:
        """Change what a group has; None leaves a value as it is. Nothing changes on an error."""
        async with self._groups.changing:
            old = self._groups.find(path)
            new = replace(
                old,
                resources=merge(old.resources, resources),
                expandable=old.expandable if expandable is None else expandable,
            )
            check_own(new.resources)
            self._admit.check_group(new.resources)
            others = [group for group in self._groups.all() if group.path != path]
            self._admit.judge_groups([*others, new])
            await self._groups.put(new)
        self._bus.publish("group", "update", path, name=path)
        return new

    async def remove(self, path: str) -> None:
        """Remove a group. Raises Conflict while anything is in it."""
        async with self._groups.changing:
            self._groups.find(path)
            inner = [group.path for group in self._groups.all() if parent(group.path) == path]
            guests = [guest.name for guest in self._admit.holding(path)]
            if inner or guests:
                first = ", ".join([*inner, *guests][:5])
                raise Conflict(
                    f"group {path!r} is not empty: {first}",
                    hint=f"move its guests with 'wirt update --group', or remove what is in it; "
                    f"'wirt group tree {path}' shows all",
                    code="group.not-empty",
                )
            await self._groups.remove(path)
        self._bus.publish("group", "destroy", path, name=path)


def check_own(resources: Resources) -> None:
    """Raise Unsupported for what no group has, Invalid for shares that docker has not either."""
    shares = resources.cpu_shares
    if shares is not None and shares not in CPU_SHARES:
        raise Invalid(
            f"CPU shares of {shares} are out of range",
            hint=f"write {CPU_SHARES[0]} to {CPU_SHARES[-1]}; {DOCKERS_SHARES} is normal",
            code="governor.out-of-range",
        )
    for what, value in (
        ("list of CPUs", resources.cpuset),
        ("limit of memory and swap", resources.memory_swap),
        ("limit of processes", resources.pids),
    ):
        if value is not None:
            raise Unsupported(
                f"a group has no {what} of its own", hint="give it to the guests in the group"
            )
