"""What can be made again stays within bounds that nobody has to set (decision 25).

Images, guests and volumes are never touched: these are what somebody asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from wirt.host.collect import Cache, Collect, Entry
from wirt.host.uses import Uses
from wirt.image.store import BlobStore
from wirt.privileged.faults import fault

log = logging.getLogger("wirt.allowance")

CACHES = 10
"""The part of the file system that caches may take is one of so many."""
FREE = 20
"""Caches leave one of so many parts of the file system free, besides what images leave."""

Found = tuple[Cache, Entry]


class Allowance:
    """Lets results of builds, their cache mounts, and unpacked layers go that nobody uses.

    ``maximum``: bytes that these may take, 0 for the usual part of the file system.
    """

    def __init__(
        self,
        *,
        collect: Collect,
        caches: Sequence[Cache],
        uses: Uses,
        store: BlobStore,
        maximum: int = 0,
    ) -> None:
        self._collect = collect
        self._caches = caches
        self._uses = uses
        self._store = store
        self._maximum = maximum
        self._lock = asyncio.Lock()

    async def run(self) -> int:
        """Look once; about how many bytes were let go."""
        capacity = self._store.capacity()
        limit = self._maximum or capacity // CACHES
        async with self._lock:
            spare, _ = await self._entries()
            over = sum(entry.size for _, entry in spare) - limit
            freed = await self._evict(spare, lambda freed: freed >= over)
        return freed + await self.free(capacity // FREE)

    async def free(self, size: int) -> int:
        """Let caches go until so many bytes may be written; about how many were let go. Also what
        is likely to be wanted soon goes when there is no room otherwise."""
        if self._store.room() >= size:
            return 0
        async with self._lock:
            spare, soon = await self._entries()
            return await self._evict([*spare, *soon], lambda _: self._store.room() >= size)

    async def _entries(self) -> tuple[list[Found], list[Found]]:
        """What nobody is likely to miss, and the rest of what may go, each in its order."""
        found = await self._collect.entries(self._caches)
        names = await self._uses.soon()
        own = [one for one in found if not one[1].shared]
        return (
            [one for one in own if one[1].name not in names],
            [one for one in own if one[1].name in names],
        )

    async def _evict(self, entries: Sequence[Found], enough: Callable[[int], bool]) -> int:
        freed = count = 0
        for cache, entry in entries:
            if enough(freed):
                break
            if await cache.evict(entry):
                fault("allowance.evicted")
                freed += entry.size
                count += 1
        if count:
            await self._collect.measure()
            log.info("let go: %d results of builds and caches, %d bytes", count, freed)
        return freed
