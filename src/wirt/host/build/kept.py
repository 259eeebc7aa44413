"""What builds fetched before: files and repositories, kept as results of the build cache.

So they count there, go with the oldest, and ``wirt builder prune`` takes them. Only what this host
has fetched itself is found again: caches that are imported cannot name any.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Set
from dataclasses import dataclass

import msgspec

from wirt.host.layers import Layers
from wirt.image.store import BlobStore, Lease
from wirt.model.image import Digest
from wirt.state.build_cache import BuildCacheTable, CachedStep

SITE = "fetched"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Something fetched. ``facts``: what its server said of it, and what is to be known of it."""

    key: str
    blob: Digest
    facts: Mapping[str, str]


def key_of(kind: str, *parts: str) -> str:
    """By what it is found again. The parts may be secret: they are not kept."""
    return hashlib.sha256(json.dumps([SITE, kind, *parts]).encode()).hexdigest()


class KeptFetches:
    """Finds and keeps."""

    def __init__(self, *, store: BlobStore, table: BuildCacheTable, layers: Layers) -> None:
        self._store = store
        self._table = table
        self._layers = layers

    async def find(self, key: str, lease: Lease) -> Kept | None:
        """What was fetched under this key, its blob held by ``lease``."""
        row = await self._table.get(key)
        if row is None or row.site != SITE or row.chain_id:
            return None
        blob = Digest.parse(row.blob)
        lease.hold(blob)
        if not self._store.path(blob).exists():
            await self._table.forget([key])
            return None
        await self._table.touch([key], now=time.time_ns())
        return Kept(key=key, blob=blob, facts=msgspec.json.decode(row.inputs, type=dict[str, str]))

    async def keep(self, kept: Kept) -> None:
        """Remember what was fetched, instead of what was before. Its blob is held by the caller."""
        before = await self._table.get(kept.key)
        size = self._store.size(kept.blob)
        row = CachedStep(
            key=kept.key,
            site=SITE,
            inputs=json.dumps(dict(kept.facts)),
            chain_id="",
            diff_id=str(kept.blob),
            blob=str(kept.blob),
            size=size,
            blob_size=size,
        )
        await self._table.put(row, now=time.time_ns())
        gone: Set[str] = {before.blob} - {row.blob} if before is not None else set()
        await self._layers.drop_blobs(gone)
