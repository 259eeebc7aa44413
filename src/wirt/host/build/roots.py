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
        """One for each result, as large as its blob; what is unpacked of it has its own. A blob
        that several results have counts for the one that goes last."""
        del found
        others = (await self._layers.reach.besides(BuildRoots.title)).blobs
        counted = set(others)
        entries = []
        rows = await self._table.all()
        for row, used_at in sorted(rows, key=lambda one: (one[1], one[0].key), reverse=True):
            size = 0 if row.blob in counted else row.blob_size
            counted.add(row.blob)
            entries.append(
                Entry(
                    kind="build",
                    name=row.key,
                    size=size,
                    used_at=used_at,
                    shared=row.blob in others,
                )
            )
        return entries

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
