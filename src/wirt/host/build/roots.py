"""What the build cache wants kept, and what of it may go when room is needed."""

from __future__ import annotations

from collections.abc import Sequence

from wirt.host.collect import Entry
from wirt.host.layers import Layers
from wirt.host.roots import Wanted
from wirt.privileged.protocol import StoreList
from wirt.state.build_cache import BuildCacheTable
from wirt.state.images import Orphans


class BuildRoots:
    """An owner of content: the layers and blobs of all results."""

    title = "Build Cache"

    def __init__(self, table: BuildCacheTable) -> None:
        self._table = table

    async def wanted(self) -> Wanted:
        """Layers and blobs of all results."""
        chain_ids, blobs = await self._table.belongings()
        return Wanted(chain_ids=chain_ids, blobs=blobs)


class BuildResults:
    """A cache to collect from: results that were not of use for longest go first."""

    def __init__(self, layers: Layers, table: BuildCacheTable) -> None:
        self._layers = layers
        self._table = table

    async def entries(self, found: StoreList) -> Sequence[Entry]:
        """One for each result."""
        return [
            Entry(
                kind="build",
                name=row.key,
                size=row.blob_size + found.layers.get(row.chain_id, 0),
                used_at=used_at,
            )
            for row, used_at in await self._table.all()
        ]

    async def evict(self, entry: Entry) -> bool:
        """Forget a result; its layer and blob go unless somebody else wants them."""
        row = await self._table.get(entry.name)
        if row is None or row.chain_id in self._layers.held:
            return False
        await self._table.forget([entry.name])
        if row.blob:
            chain_ids = (row.chain_id,) if row.chain_id else ()  # what was fetched is no layer
            await self._layers.drop(Orphans(chain_ids=chain_ids, blobs=(row.blob,)))
        return True
