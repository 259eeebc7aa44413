"""What the build cache wants kept: the layers and blobs of its results."""

from __future__ import annotations

from wirt.host.roots import Wanted
from wirt.state.build_cache import BuildCacheTable


class BuildRoots:
    """An owner of content. Results that were not of use for long are forgotten by collection,
    which then asks again."""

    def __init__(self, table: BuildCacheTable) -> None:
        self._table = table

    async def wanted(self) -> Wanted:
        """Layers and blobs of all results."""
        chain_ids, blobs = await self._table.belongings()
        return Wanted(chain_ids=chain_ids, blobs=blobs)
