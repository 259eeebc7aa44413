"""Taking archives of images in: read whole, checked, stored, unpacked, and only then named."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable

from wirt.host.events import Bus
from wirt.host.layers import Intake, Layers, Tell
from wirt.host.pipe import Pipes
from wirt.image import archive_docker, catalog, platform
from wirt.image.archive import Archive, Bundle
from wirt.image.assemble import Stored, store_bundle
from wirt.image.store import BlobStore
from wirt.model.image import Image, Reference
from wirt.privileged.faults import fault
from wirt.state.images import ImageTable, LayerRow, Orphans


class LoadImages:
    """``wirt load``."""

    def __init__(
        self, pipes: Pipes, store: BlobStore, layers: Layers, table: ImageTable, bus: Bus
    ) -> None:
        self._pipes = pipes
        self._store = store
        self._layers = layers
        self._table = table
        self._bus = bus

    async def load(self, body: AsyncIterable[bytes], tell: Tell) -> tuple[Image, ...]:
        """Store and unpack all images of an archive (docker-archive or OCI, maybe compressed).

        Raises Invalid for anything that is not as it should be; the images before the bad one
        are kept, of the bad one nothing. Nothing at all happens when the body breaks off.
        """
        archive = Archive(self._store)
        limit = self._layers.limits.archive
        try:
            await self._pipes.feed(body, lambda source: archive.read(source, limit=limit))
            await tell({"status": "archive read"})
            bundles = await self._pipes.call(lambda: archive_docker.read(archive, platform.host()))
            return tuple([await self._take(bundle, tell) for bundle in bundles])
        finally:
            await self._pipes.call(archive.discard)

    async def _take(self, bundle: Bundle, tell: Tell) -> Image:
        async with self._layers.intake() as intake:
            stored = await self._pipes.call(lambda: store_bundle(bundle, self._store, intake.lease))
            image = await self.register(stored, intake, tell)
        for name in bundle.references or (image.id,):
            short = Reference.parse(name).familiar if bundle.references else name
            await tell({"loaded": short})
            self._bus.publish("image", "load", image.id, name=short)
        return image

    async def register(
        self,
        stored: Stored,
        intake: Intake,
        tell: Tell,
        *,
        known: tuple[LayerRow, ...] | None = None,
    ) -> Image:
        """Unpack an image whose blobs are in the store, and give it its names. ``known``: its
        layers, from who made them and knows their sizes: they are unpacked when needed."""
        intake.chain_ids.extend(stored.chain_ids)
        place = stored.configuration.platform
        if not platform.runs(place, platform.host()):
            await tell({"status": f"warning: the image is for {place}, it cannot run here"})
        with self._layers.hold((str(stored.id), *stored.chain_ids)):
            rows = known if known is not None else await self._unpack(stored, tell)
            image = Image(
                id=str(stored.id),
                manifest=str(stored.manifest),
                architecture=place.architecture,
                os=place.os,
                config=stored.configuration.config,
                diff_ids=tuple(str(d) for d in stored.configuration.diff_ids),
                chain_ids=stored.chain_ids,
                size=sum(row.size for row in rows),
                created_at=stored.configuration.created_at,
            )
            before = await self._table.add(
                image,
                layers=rows,
                blobs=[str(blob) for blob in stored.blobs],
                documents=[catalog.row(document) for document in stored.documents],
                names=dict.fromkeys(stored.references, str(stored.target)),
                stored_at=time.time_ns(),
            )
            fault("image.noted")
        for name, old in before.items():
            if old.image_id != image.id:
                said = f"{Reference.parse(name).familiar} was {old.image_id[7:19]} before"
                await tell({"status": f"{said}, which has no name now"})
        await self._layers.drop(Orphans(documents=tuple(old.target for old in before.values())))
        return await self._table.get(image.id) or image

    async def _unpack(self, stored: Stored, tell: Tell) -> tuple[LayerRow, ...]:
        rows = await self._layers.unpack(stored, tell)
        await self._layers.uses.came(stored.chain_ids)
        return rows
