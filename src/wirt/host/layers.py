"""Unpacked layers and image disks, made by the helper; and what goes when nothing uses it.

Removing races with loading: an image may be on its way whose layers are there already. So a
:meth:`Layers.hold` keeps layers and blobs that are about to be used, and each layer has a lock
under which it is either unpacked or, after a last look, dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Set,
)  # fmt: skip
from dataclasses import dataclass, field

from wirt.aio import Locks, shielded
from wirt.errors import Exhausted, NotFound
from wirt.host.holds import Holds
from wirt.host.insist import WHILE_SOMEBODY_WAITS, insist
from wirt.host.roots import Reach, Wanted
from wirt.host.uses import Uses
from wirt.image.assemble import Stored
from wirt.image.budget import Budget, refusal
from wirt.image.store import BlobStore, Lease, no_space
from wirt.model.image import Digest, Image
from wirt.privileged.client import Helper
from wirt.privileged.faults import fault
from wirt.privileged.protocol import ApplyLayer, DropLayers, MakeImageDisk
from wirt.state.images import LayerRow, Orphans

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


GROWTH = 3
"""How many times larger than its blob a layer is taken to be before it is unpacked."""
SMALL = 4096

UNDO_SECONDS = 600.0
"""How long deleting what a failed load has made may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What is being taken in. ``chain_ids``: layers that were or will be unpacked for it."""

    lease: Lease
    chain_ids: list[str] = field(default_factory=list)


class Layers:
    """Makes and drops what images need on the disk besides their blobs.

    ``present``: chain ids and image ids whose layers and disks are known to be there; what is not
    in it may be there too. ``reach``: who wants what kept. ``budget``: what the store may take.
    ``ended``: set when an intake is over, since then something may be let go.
    """

    def __init__(
        self,
        helper: Helper,
        store: BlobStore,
        reach: Reach,
        uses: Uses,
        *,
        limits: Limits | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._helper = helper
        self._store = store
        self.reach = reach
        self.uses = uses
        self.limits = limits or Limits()
        self.budget = budget or Budget()
        self.present: set[str] = set()
        self.ended = asyncio.Event()
        self._locks = Locks()
        self._holds = Holds()

    def hold(self, names: Iterable[str]) -> contextlib.AbstractContextManager[None]:
        """Keep layers (chain ids) and images (ids) from being dropped."""
        return self._holds.hold(names)

    @property
    def held(self) -> frozenset[str]:
        """What :meth:`hold` keeps now."""
        return self._holds.held

    async def wanted(self) -> Wanted:
        """What all owners want kept."""
        return await self.reach.wanted()

    def lost(self, error: NotFound, chain_ids: Iterable[str]) -> bool:
        """Whether the helper missed an unpacked layer, as when somebody removed it by hand. These
        are looked for again then: whoever needs them unpacks them and tries once more."""
        if error.code != "layer.missing":
            return False
        self.present.difference_update(chain_ids)
        return True

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
        self,
        chain_id: str,
        parents: tuple[str, ...],
        *,
        expected: str,
        blob: Digest,
        guess: int = 0,
    ) -> int:
        """As :meth:`apply_stream`, of a blob that is in the store."""
        size = self._store.size(blob)
        plain = expected == str(blob)
        with self._store.open(blob) as file:
            return await self.apply_stream(
                chain_id,
                parents,
                expected=expected,
                blob_size=size,
                source=file.fileno(),
                guess=guess or (size if plain else 0),
            )

    async def apply_stream(
        self,
        chain_id: str,
        parents: tuple[str, ...],
        *,
        expected: str,
        blob_size: int,
        source: int,
        guess: int = 0,
    ) -> int:
        """Unpack one layer from a descriptor, a file or a pipe; bytes of its files.

        A layer that is there already costs nothing, and then nothing is read. ``blob_size``: how
        many bytes will come, by which its size is bounded. ``guess``: how many bytes it will
        probably take, 0 when nobody knows. The caller holds the chain id. Raises Invalid,
        Exhausted.
        """
        async with self._locks.hold(chain_id):
            limit = self.limits.of_layer(blob_size)
            there = chain_id in self.present
            likely = 0 if there else min(limit, guess or blob_size * GROWTH)
            if self._store.room() < likely:
                await self.budget.freed(likely)
            room = max(self._store.room(), self.limits.least)
            async with self.budget.reserved(likely, least=blob_size) as granted:
                affordable = max(granted + self.budget.left, SMALL)
                verb = ApplyLayer(
                    chain_id=chain_id,
                    parents=parents,
                    expected=expected,
                    max_bytes=limit,
                    max_entries=self.limits.entries,
                    max_disk=min(room, affordable),
                )
                try:
                    done, _ = await self._helper.call(verb, [source])
                except Exhausted as error:
                    if error.code != "layer.no-room":
                        raise
                    if affordable < room:
                        raise refusal(self.budget, affordable + 1) from error
                    raise no_space(self._store.path(Digest.parse(expected))) from error
            if not there:
                await self._grown(chain_id, done.disk or done.size)
        return done.size

    async def adopted(self, chain_id: str, disk: int) -> None:
        """The helper made a layer of what was there already, unasked for room. ``disk``: bytes
        that it takes, 0 for one that was there before. Raises Exhausted when the budget cannot
        bear it; it goes again then."""
        with self.hold((chain_id,)):
            async with self._locks.hold(chain_id):
                if disk:
                    await self._grown(chain_id, disk)

    async def _grown(self, chain_id: str, size: int) -> None:
        """Count what was unpacked; it goes again when only that keeps the budget."""
        self.present.add(chain_id)
        self.budget.grew(size)
        try:
            async with self.budget.reserved(0):
                pass
        except Exhausted:
            if chain_id not in (await self.reach.wanted()).used:  # it may have been there before
                await self._remove(chain_ids=(chain_id,))
            raise

    async def disk(self, image: Image) -> None:
        """Make the image's read-only disk (``disks/<image id>.erofs``) for machines.

        Raises NotFound (``layer.missing``) when it is not there and a layer is not unpacked.
        """
        with self.hold((image.id, *image.chain_ids)):
            async with self._locks.hold(image.id):
                there = image.id in self.present
                async with self.budget.reserved(0 if there else image.size):
                    verb = MakeImageDisk(image_id=image.id, layers=image.chain_ids)
                    made, _ = await self._helper.call(verb)
                if not there:
                    self.present.add(image.id)
                    self.budget.grew(made.size)

    async def drop(self, orphans: Orphans) -> None:
        """Delete what belongs to no image any more and is not held."""
        for chain_id in reversed(orphans.chain_ids):
            await self.let_go(Orphans(chain_ids=(chain_id,)), owned=False)
        for image_id in orphans.images:
            await self.let_go(Orphans(images=(image_id,)), owned=False)
        await self.drop_blobs({*orphans.blobs, *await self.reach.below(orphans.documents)})

    async def drop_blobs(self, candidates: Set[str]) -> int:
        """Delete those blobs that nobody wants, documents with their rows; how many."""
        if not candidates:
            return 0
        with self._store.collection() as collection:
            garbage = candidates - await self.reach.blobs()
            gone = [
                blob
                for blob in sorted(garbage)  # a large file takes the disk a while
                if await asyncio.to_thread(collection.remove, Digest.parse(blob))
            ]
            # who pushed one again meanwhile holds a lease and writes its row after this
            fault("store.collected")
            await self.reach.forget([b for b in gone if not collection.touched(Digest.parse(b))])
        return len(gone)

    async def sweep_blobs(self) -> int:
        """Delete all blobs that nobody wants, as a crash leaves them; how many."""
        found = await asyncio.to_thread(lambda: {str(digest) for digest, _ in self._store.all()})
        return await self.drop_blobs(found | await self.reach.documents())

    async def let_go(self, what: Orphans, *, owned: bool) -> bool:
        """Drop one unpacked layer or one disk; whether it is gone.

        Nothing that is held or used goes. ``owned``: also what belongs to an image that nothing
        uses now; it is made again when needed.
        """
        (name,) = (*what.chain_ids, *what.images)
        if name in self.held:  # whoever holds it may wait for room, and so for us
            return False
        async with self._locks.hold(name):
            with self._holds.watch() as watched:
                wanted = await self.reach.wanted()
                kept = wanted.used if owned else wanted.chain_ids | wanted.images
                if name in kept or name in watched:
                    return False
                await self._remove(chain_ids=what.chain_ids, image_ids=what.images)
        return True

    async def discard(self, chain_id: str) -> None:
        """Delete what is in the place of a layer, be it whole or not, unless it is held."""
        if chain_id in self.held:
            return
        async with self._locks.hold(chain_id):
            await self._remove(chain_ids=(chain_id,))

    async def _remove(
        self, *, chain_ids: tuple[str, ...] = (), image_ids: tuple[str, ...] = ()
    ) -> None:
        self.present.difference_update(chain_ids, image_ids)
        verb = DropLayers(chain_ids=chain_ids, image_ids=image_ids)
        await insist(self._helper, verb, patience=WHILE_SOMEBODY_WAITS)
        fault("layer.dropped")

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
            await self.tidy(intake)
            raise
        finally:
            intake.lease.end()
            self.ended.set()

    async def tidy(self, intake: Intake) -> None:
        """End an intake: delete what came with it and belongs to nothing."""
        orphans = Orphans(
            chain_ids=tuple(dict.fromkeys(intake.chain_ids)),
            blobs=tuple(str(digest) for digest in intake.lease.held),
        )
        intake.lease.end()
        try:
            await shielded(self.drop(orphans), deadline=UNDO_SECONDS)
        except Exception as error:  # noqa: BLE001 - what was asked for is done; a sweep comes later
            log.warning("what nobody wants any more is left to the next sweep: %s", error)
