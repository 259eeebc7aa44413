"""Making room: what can be made again, and what nobody needs, goes when the budget is reached.

What goes first is what was used least recently, of all caches together. Nothing that is used or
held goes, each cache says so itself. Whoever lets the store grow asks ``image/budget`` before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wirt.host.layers import Layers
from wirt.image.budget import Budget, refusal
from wirt.image.store import BlobStore
from wirt.privileged.client import Helper
from wirt.privileged.faults import fault
from wirt.privileged.protocol import ListStore, StoreList
from wirt.state.images import Orphans
from wirt.state.store import StoreTable

log = logging.getLogger("wirt.collect")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that may go. ``size``: about how many bytes that frees. ``used_at``: Unix
    nanoseconds of the last use. ``depth``: of two with the same moment the deeper one goes
    first, since it needs the other. ``shared``: images want it too, so that it frees nothing."""

    kind: str
    name: str
    size: int
    used_at: int
    depth: int = 0
    shared: bool = False


class Cache(Protocol):
    """Entries that can be made again, or that nobody needs."""

    async def entries(self, found: StoreList) -> Sequence[Entry]:
        """What might go now. ``found``: the layers and disks that are there."""
        ...

    async def evict(self, entry: Entry) -> bool:
        """Let one go, unless it came into use; whether it is gone."""
        ...


def order(entry: Entry) -> tuple[int, int, str]:
    """What goes first has the least."""
    return entry.used_at, -entry.depth, entry.name


class LayerCaches:
    """Unpacked layers and disks, which are made again from blobs."""

    def __init__(self, layers: Layers, table: StoreTable) -> None:
        self._layers = layers
        self._table = table
        self._uses = layers.uses

    @property
    def held(self) -> frozenset[str]:
        """What somebody is making or using right now."""
        return self._layers.held

    async def entries(self, found: StoreList) -> Sequence[Entry]:
        """All of them that no guest uses."""
        used = (await self._layers.wanted()).used
        moments = await self._uses.moments()
        made = await self._table.made()
        return [
            Entry(
                kind=kind,
                name=name,
                size=size,
                used_at=moments.get((kind, name)) or made.get(name, (0, 0))[0],
                depth=made.get(name, (0, 0))[1],
            )
            for kind, there in (("layer", found.layers), ("disk", found.disks))
            for name, size in there.items()
            if name not in used
        ]

    async def evict(self, entry: Entry) -> bool:
        """Drop one layer or disk."""
        what = Orphans(images=(entry.name,))
        if entry.kind == "layer":
            what = Orphans(chain_ids=(entry.name,))
        gone = await self._layers.let_go(what, owned=True)
        if gone:
            await self._uses.forget(entry.kind, entry.name)
        return gone


class UnnamedImages:
    """Images that have no name and no guest: what is left when a name moves on."""

    def __init__(self, layers: Layers, table: StoreTable) -> None:
        self._layers = layers
        self._table = table

    async def entries(self, found: StoreList) -> Sequence[Entry]:
        """One for each."""
        del found
        return [
            Entry(kind="image", name=one.id, size=one.size, used_at=one.stored_at)
            for one in await self._table.unnamed()
        ]

    async def evict(self, entry: Entry) -> bool:
        """Delete the image, unless it has a name or a guest again."""
        if entry.name in self._layers.held:
            return False
        orphans = await self._table.delete_unnamed(entry.name)
        await self._layers.drop(orphans)
        return bool(orphans.images)


async def _none() -> int:
    return 0


def _blobs(store: BlobStore) -> int:
    return sum(status.st_blocks * 512 for _, status in store.all())


async def _nothing(size: int) -> object:
    del size
    return None


class Collect:
    """Keeps the budget. ``further``: bytes of what counts besides blobs, layers and disks.
    ``relief``: lets caches go until so many bytes are free."""

    def __init__(
        self, helper: Helper, store: BlobStore, budget: Budget, caches: Sequence[Cache]
    ) -> None:
        self._helper = helper
        self._store = store
        self._budget = budget
        self._caches = list(caches)
        self._lock = asyncio.Lock()
        self.further: Callable[[], Awaitable[int]] = _none
        self.relief: Callable[[int], Awaitable[object]] = _nothing

    def add(self, cache: Cache) -> None:
        """Collect from this cache too."""
        self._caches.append(cache)

    async def open(self) -> None:
        """Measure, and make room in this loop from now on."""
        self._budget.serve(self, asyncio.get_running_loop())
        if self._budget.maximum:
            await self.measure()

    async def usage(self) -> int:
        """Bytes that blobs, layers and disks take now."""
        found = await self.measure()
        blobs = await asyncio.to_thread(_blobs, self._store)
        return blobs + sum(found.layers.values()) + sum(found.disks.values())

    async def measure(self) -> StoreList:
        """What is there now; the budget learns of it."""
        found, _ = await self._helper.call(ListStore())
        blobs = await asyncio.to_thread(_blobs, self._store)
        layers, disks = sum(found.layers.values()), sum(found.disks.values())
        self._budget.measured(blobs + layers + disks + await self.further())
        return found

    async def make_room(self, need: int) -> None:
        """Let the least recently used go until ``need`` bytes fit.

        Raises Exhausted, with the figures, when what is in use leaves no room for them; nothing
        goes when all of it would not do.
        """
        async with self._lock:
            found = await self.measure()
            if self._budget.left >= need:
                return
            entries = await self._entries(found, self._caches)
            if self._budget.left + sum(entry.size for _, entry in entries) >= need:
                await self._evict(entries, need)
            if self._budget.left < need:
                raise refusal(self._budget, need)

    async def entries(self, caches: Sequence[Cache]) -> list[tuple[Cache, Entry]]:
        """What of these caches may go now, what is to go first first."""
        return await self._entries(await self.measure(), caches)

    async def _entries(
        self, found: StoreList, caches: Sequence[Cache]
    ) -> list[tuple[Cache, Entry]]:
        entries = [(cache, entry) for cache in caches for entry in await cache.entries(found)]
        return sorted(entries, key=lambda one: order(one[1]))

    async def free(self, size: int) -> None:
        """Let caches go until so many bytes of the disk may be written, or nothing is left."""
        await self.relief(size)

    async def _evict(self, entries: Sequence[tuple[Cache, Entry]], need: int) -> None:
        count = freed = 0
        for cache, entry in entries:
            if not await cache.evict(entry):
                continue
            fault("collect.evicted")
            count += 1
            freed += entry.size
            if self._budget.left + freed >= need:
                await self.measure()
                freed = 0
                if self._budget.left >= need:
                    break
        else:
            await self.measure()
        log.info("collected: %d entries, so that %d bytes fit", count, need)
