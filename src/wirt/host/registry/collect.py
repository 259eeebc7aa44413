"""What the registry wants kept, and letting go of what it does not.

A blob belongs to a repository once it was pushed. Until a manifest names it, it is kept for a
grace time, which a client has to push the manifest; afterwards it goes with the next collection.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wirt.host.roots import Wanted
from wirt.privileged.faults import fault
from wirt.state.repositories import RepositoryTable

GRACE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """``expired``: blobs that a repository let go. ``removed``: blobs that left the disk."""

    expired: int
    removed: int


class RegistryRoots:
    """The repositories as owners of content (``host/roots``)."""

    title = "Registry"

    def __init__(self, table: RepositoryTable, *, grace: float = GRACE_SECONDS) -> None:
        self._table = table
        self._grace = grace

    async def wanted(self) -> Wanted:
        """Every blob and manifest that a repository has; no more than that, so what was deleted
        there goes although something that stays may speak of it."""
        return Wanted(blobs=await self._table.wanted(_ago(self._grace)))


class CollectRegistry:
    """``wirt registry gc``."""

    def __init__(self, table: RepositoryTable, sweep: Callable[[], Awaitable[int]]) -> None:
        """``sweep``: deletes all blobs that nobody wants, and says how many."""
        self._table = table
        self._sweep = sweep

    async def collect(self, grace: float = GRACE_SECONDS) -> Collected:
        """Delete what no repository has any more. ``grace``: seconds that a blob which no manifest
        names is kept. Pushes may go on meanwhile."""
        expired = await self._table.expire(_ago(grace))
        fault("registry.expired")
        return Collected(expired=expired, removed=await self._sweep())


def _ago(seconds: float) -> int:
    return time.time_ns() - int(seconds * 1e9)
