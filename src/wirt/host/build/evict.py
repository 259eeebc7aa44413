"""The cache mounts of builds as entries of which collection takes the oldest."""

from __future__ import annotations

from collections.abc import Sequence

from wirt.host.build.caches import BuildCaches
from wirt.host.collect import Entry
from wirt.privileged.protocol import StoreList


class CacheMounts:
    """The directories that RUN --mount=type=cache keeps."""

    def __init__(self, caches: BuildCaches) -> None:
        self._caches = caches

    async def entries(self, found: StoreList) -> Sequence[Entry]:
        """Those that no step uses now."""
        del found
        return [
            Entry(kind="mount", name=one.name, size=one.size, used_at=one.used_at)
            for one in await self._caches.all()
            if one.name not in self._caches.used
        ]

    async def evict(self, entry: Entry) -> bool:
        """Delete one, unless a step uses it."""
        return entry.name in await self._caches.drop([entry.name])
