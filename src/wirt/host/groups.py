"""The groups of guests of this host, in memory for readers and in the database for good."""

from __future__ import annotations

import asyncio

from wirt.host.claims import no_such_group
from wirt.model.group import GuestGroup
from wirt.state.groups import GroupTable


class Groups:
    """Groups by their paths.

    ``changing``: held by whoever changes groups, or who is in which and what was promised, from
    the check to the moment when all can see the change; never while a guest is waited for.
    """

    def __init__(self, table: GroupTable) -> None:
        self._table = table
        self._known: dict[str, GuestGroup] = {}
        self.changing = asyncio.Lock()

    async def open(self) -> None:
        """Read everything from the database."""
        self._known = {group.path: group for group in await self._table.all()}

    def all(self) -> tuple[GuestGroup, ...]:
        """Every group, in the order of their paths."""
        return tuple(self._known[path] for path in sorted(self._known))

    def get(self, path: str) -> GuestGroup | None:
        """The group of that path, or None."""
        return self._known.get(path)

    def find(self, path: str) -> GuestGroup:
        """The group of that path. Raises NotFound."""
        group = self._known.get(path)
        if group is None:
            raise no_such_group(path)
        return group

    def require(self, path: str) -> None:
        """Raise NotFound unless guests can be there; the host itself, ``""``, always is."""
        if path:
            self.find(path)

    async def put(self, group: GuestGroup) -> None:
        """Store a group, new or changed; the caller holds ``changing``."""
        await self._table.put(group)
        self._known[group.path] = group

    async def remove(self, path: str) -> None:
        """Forget a group; the caller holds ``changing``."""
        await self._table.remove(path)
        self._known.pop(path, None)
