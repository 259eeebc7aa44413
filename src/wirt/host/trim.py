"""Keeps the store no larger than one that has nothing but unpacked layers (decision 23).

Blobs are kept *and* unpacked, so what is unpacked and nobody runs has to make up for the blobs. It
goes least recently used first, until the whole is within that bound or nothing more may go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from wirt.host.collect import Collect, LayerCaches, order
from wirt.host.uses import Uses
from wirt.image.budget import disk_size
from wirt.image.store import BlobStore
from wirt.model.image import Digest
from wirt.privileged.faults import fault
from wirt.privileged.protocol import StoreList
from wirt.state.images import ImageTable
from wirt.state.store import StoreTable

log = logging.getLogger("wirt.trim")


class Trim:
    """Lets unpacked layers and disks go that nobody uses, and that nobody is likely to soon."""

    def __init__(
        self,
        *,
        collect: Collect,
        unpacked: LayerCaches,
        uses: Uses,
        images: ImageTable,
        table: StoreTable,
        store: BlobStore,
    ) -> None:
        self._collect = collect
        self._unpacked = unpacked
        self._uses = uses
        self._images = images
        self._table = table
        self._store = store

    async def run(self) -> int:
        """Look once; the bytes that were let go. What is held or used meanwhile stays."""
        found = await self._collect.measure()
        await self._uses.tidy(found.layers.keys() | found.disks.keys())
        over = await self.excess(found)
        if over <= 0:
            return 0
        soon = await self._uses.soon()
        freed = count = 0
        for entry in sorted(await self._unpacked.entries(found), key=order):
            if freed >= over:
                break
            if entry.name not in soon and await self._unpacked.evict(entry):
                fault("trim.dropped")
                freed += entry.size
                count += 1
        if count:
            await self._collect.measure()
            log.info("trimmed: %d unpacked layers and disks, %d bytes", count, freed)
        return freed

    async def excess(self, found: StoreList) -> int:
        """Bytes beyond the bound: images' blobs and all that is unpacked, less what the images'
        layers would take if each were unpacked once. Blobs of the registry and of the build cache
        alone do not count, for nothing of them has to be unpacked, nor do layers that are being
        made for an image which is not there yet. Negative while there is room."""
        blobs = await asyncio.to_thread(self._bytes, (await self._images.belongings()).blobs)
        sizes = await self._table.layer_sizes()
        coming = self._unpacked.held - sizes.keys()
        there = sum(size for name, size in found.layers.items() if name not in coming)
        there += sum(found.disks.values())
        return blobs + there - sum(found.layers.get(name, size) for name, size in sizes.items())

    def _bytes(self, digests: Iterable[str]) -> int:
        return sum(disk_size(self._store.path(Digest.parse(digest))) for digest in digests)
