"""Unpacked layers and image disks, made by the helper; and what goes when nothing uses it.

Removing races with loading: an image may be on its way whose layers are there already. So a
:meth:`Layers.hold` keeps layers and blobs that are about to be used, and each layer has a lock
under which it is either unpacked or, after a last look, dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Set,
)  # fmt: skip
from dataclasses import dataclass, field

from wirt.aio import Locks, shielded
from wirt.errors import Invalid
from wirt.host.insist import WHILE_SOMEBODY_WAITS, insist
from wirt.host.roots import Reach, Wanted
from wirt.image.assemble import Stored
from wirt.image.store import BlobStore, Lease, no_space
from wirt.model.image import Digest, Image
from wirt.privileged.client import Helper
from wirt.privileged.protocol import ApplyLayer, DropLayers, MakeImageDisk
from wirt.state.images import ImageTable, LayerRow, Orphans

log = logging.getLogger("wirt.layers")

Tell = Callable[[Mapping[str, object]], Awaitable[None]]
"""Progress, one line of the answer each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an image may cost. ``archive``: bytes of an uploaded archive when uncompressed.
    ``layer``: bytes of one unpacked layer; a compressed one may at most grow by ``ratio``, but
    always to ``floor`` bytes. ``entries``: of one layer. ``least``: bytes that a layer may have
    however full the disk is."""

    archive: int = 1024**4
    layer: int = 256 * 1024**3
    ratio: int = 250
    floor: int = 4 * 1024**3
    entries: int = 1_000_000
    least: int = 64 * 1024**2

    def of_layer(self, blob_size: int) -> int:
        """The most that a blob of this size may unpack to."""
        return min(self.layer, max(self.floor, blob_size * self.ratio))


UNDO_SECONDS = 600.0
"""How long deleting what a failed load has made may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What is being taken in. ``chain_ids``: layers that were or will be unpacked for it."""

    lease: Lease
    chain_ids: list[str] = field(default_factory=list)


class Layers:
    """Makes and drops what images need on the disk besides their blobs."""

    def __init__(
        self,
        helper: Helper,
        store: BlobStore,
        table: ImageTable,
        reach: Reach,
        *,
        limits: Limits | None = None,
    ) -> None:
        self._helper = helper
        self._store = store
        self._table = table
        self._reach = reach
        self.limits = limits or Limits()
        self._locks = Locks()
        self._held: Counter[str] = Counter()

    @contextlib.contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        """Keep layers (chain ids) and images (ids) from being dropped."""
        kept = tuple(names)
        self._held.update(kept)
        try:
            yield
        finally:
            self._held.subtract(kept)
            self._held += Counter()

    @property
    def held(self) -> frozenset[str]:
        """What :meth:`hold` keeps now."""
        return frozenset(self._held)

    async def wanted(self) -> Wanted:
        """What all owners want kept."""
        return await self._reach.wanted()

    async def unpack(self, stored: Stored, tell: Tell) -> tuple[LayerRow, ...]:
        """Unpack an image's layers, base first; those that are there already cost nothing.

        The caller holds their chain ids. Raises Invalid when a layer is not what the image says.
        """
        rows: list[LayerRow] = []
        for chain_id, diff_id, blob in zip(
            stored.chain_ids, stored.configuration.diff_ids, stored.layers, strict=True
        ):
            parents = tuple(row.chain_id for row in rows)
            size = await self.apply(chain_id, parents, expected=str(diff_id), blob=blob)
            rows.append(LayerRow(chain_id=chain_id, blob=str(blob), size=size))
            await tell({"status": f"layer {len(rows)} of {len(stored.layers)} unpacked"})
        return tuple(rows)

    async def apply(
        self, chain_id: str, parents: tuple[str, ...], *, expected: str, blob: Digest
    ) -> int:
        """Unpack one layer, unless it is there; the bytes of its files. As :meth:`unpack`."""
        size = self._store.size(blob)
        with self._store.open(blob) as file:
            return await self.apply_stream(
                chain_id, parents, expected=expected, blob_size=size, source=file.fileno()
            )

    async def apply_stream(
        self,
        chain_id: str,
        parents: tuple[str, ...],
        *,
        expected: str,
        blob_size: int,
        source: int,
    ) -> int:
        """As :meth:`apply`, from a descriptor, a file or a pipe; bytes of its files.

        A layer that is there already costs nothing, and then nothing is read. ``blob_size``: how
        many bytes will come, by which its size is bounded. Raises Invalid, Exhausted.
        """
        async with self._locks.hold(chain_id):
            limit = self.limits.of_layer(blob_size)
            room = max(self._store.room(), self.limits.least)
            verb = ApplyLayer(
                chain_id=chain_id,
                parents=parents,
                expected=expected,
                max_bytes=min(limit, room),
                max_entries=self.limits.entries,
            )
            try:
                done, _ = await self._helper.call(verb, [source])
            except Invalid as error:
                if error.code == "archive.too-large" and room < limit:
                    raise no_space(self._store.path(Digest.parse(expected))) from error
                raise
        return done.size

    async def disk(self, image: Image) -> None:
        """Make the image's read-only disk (``disks/<image id>.erofs``) for machines."""
        async with self._locks.hold(image.id):
            verb = MakeImageDisk(image_id=image.id, layers=image.chain_ids)
            await self._helper.call(verb)

    async def drop(self, orphans: Orphans) -> None:
        """Delete what belongs to no image any more and is not held."""
        for chain_id in reversed(orphans.chain_ids):
            async with self._locks.hold(chain_id):
                await self._drop(Orphans(chain_ids=(chain_id,)))
        for image_id in orphans.images:
            async with self._locks.hold(image_id):
                await self._drop(Orphans(images=(image_id,)))
        await self.drop_blobs({*orphans.blobs, *await self._reach.below(orphans.documents)})

    async def drop_blobs(self, candidates: Set[str]) -> int:
        """Delete those blobs that nobody wants, documents with their rows; how many."""
        if not candidates:
            return 0
        with self._store.collection() as collection:
            garbage = candidates - await self._reach.blobs()
            gone = [
                blob
                for blob in sorted(garbage)  # a large file takes the disk a while
                if await asyncio.to_thread(collection.remove, Digest.parse(blob))
            ]
            # who pushed one again meanwhile holds a lease and writes its row after this
            await self._reach.forget([b for b in gone if not collection.touched(Digest.parse(b))])
        return len(gone)

    async def sweep_blobs(self) -> int:
        """Delete all blobs that nobody wants, as a crash leaves them; how many."""
        found = await asyncio.to_thread(lambda: {str(digest) for digest, _ in self._store.all()})
        return await self.drop_blobs(found | await self._reach.documents())

    async def _drop(self, orphans: Orphans) -> None:
        wanted = await self._reach.wanted()
        unused = await self._table.unused(orphans)
        kept = {*self._held, *wanted.chain_ids, *wanted.images}
        chain_ids = tuple(c for c in unused.chain_ids if c not in kept)
        images = tuple(i for i in unused.images if i not in kept)
        if chain_ids or images:
            verb = DropLayers(chain_ids=chain_ids, image_ids=images)
            await insist(self._helper, verb, patience=WHILE_SOMEBODY_WAITS)

    def lease(self) -> Lease:
        """Keep blobs that are being read."""
        return self._store.lease()

    @contextlib.asynccontextmanager
    async def intake(self) -> AsyncIterator[Intake]:
        """Take images in: what was stored and unpacked meanwhile, and belongs to no image when the
        block fails or is cancelled, is deleted again."""
        intake = Intake(lease=self._store.lease())
        try:
            yield intake
        except BaseException:
            orphans = Orphans(
                chain_ids=tuple(dict.fromkeys(intake.chain_ids)),
                blobs=tuple(str(digest) for digest in intake.lease.held),
            )
            intake.lease.end()
            try:
                await shielded(self.drop(orphans), deadline=UNDO_SECONDS)
            except Exception as error:  # noqa: BLE001 - the first error counts; a sweep comes later
                log.warning("what a failed load has made is left to the next sweep: %s", error)
            raise
        finally:
            intake.lease.end()
