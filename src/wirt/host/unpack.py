"""Blobs are the truth; unpacked layers and disks are made of them when something needs them.

Collection may drop what no guest uses, so whoever is about to use layers asks here first, and
holds them meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from wirt.errors import NotFound
from wirt.host.layers import Layers
from wirt.model.image import Digest, Image
from wirt.state.images import ImageTable, LayerRow


class Unpack:
    """Makes layers and disks ready, and notes that they are used."""

    def __init__(self, layers: Layers, table: ImageTable) -> None:
        self._layers = layers
        self._table = table

    @contextlib.asynccontextmanager
    async def ready(
        self, image: Image, *, layers: bool = True, disk: bool = False
    ) -> AsyncIterator[None]:
        """Nothing of the image is dropped while the block runs, and its layers or its disk are
        there. Raises NotFound when a blob is lost, Exhausted when they do not fit."""
        with self._layers.hold((image.id, *image.chain_ids)):
            if disk:
                await self.disk(image)
            if layers:
                await self.layers(image)
            yield

    async def layers(self, image: Image) -> None:
        """Unpack what is not unpacked. The caller holds the image's layers, or a guest that was
        made from it keeps them."""
        await self._layers.uses.run(layers=image.chain_ids)
        missing = set(image.chain_ids) - self._layers.present
        if not missing:
            return
        rows = await self._table.layers(image.id)
        if not rows:
            raise NotFound(f"the image {image.id} was removed meanwhile", code="image.not-found")
        parents: tuple[str, ...] = ()
        for row, diff_id in zip(rows, image.diff_ids, strict=True):
            if row.chain_id in missing:
                await self._unpack(image, row, parents, diff_id)
            parents = (*parents, row.chain_id)

    async def _unpack(
        self, image: Image, row: LayerRow, parents: tuple[str, ...], diff_id: str
    ) -> None:
        blob = Digest.parse(row.blob)
        try:
            await self._layers.apply(
                row.chain_id, parents, expected=diff_id, blob=blob, guess=row.size
            )
        except NotFound as error:
            name = image.references[0] if image.references else image.id
            error.add_note(f"it is a layer of the image {name}")
            raise

    async def disk(self, image: Image) -> None:
        """Make the image's disk for machines; its layers are unpacked only when that is needed."""
        await self._layers.uses.run(disk=image.id)
        with self._layers.hold((image.id, *image.chain_ids)):
            try:
                await self._layers.disk(image)
            except NotFound as error:
                if not self._layers.lost(error, image.chain_ids):
                    raise
                await self.layers(image)
                await self._layers.disk(image)
