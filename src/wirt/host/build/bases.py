"""The images that a build starts from or copies from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from wirt.errors import NotFound
from wirt.host.build.job import BaseImage
from wirt.host.images import ImageDetail, Images
from wirt.host.pipe import Pipes
from wirt.host.save import read_manifest
from wirt.image.build.dockerfile.parse import parse_trigger
from wirt.image.build.graph import BaseSettings, ImageRef
from wirt.image.build.outcome import EARLIEST, Layer, Root
from wirt.image.build.settings import Settings
from wirt.image.document import Object
from wirt.image.platform import Platform
from wirt.image.store import BlobStore
from wirt.model.image import Digest


class Pull(Protocol):
    """Brings images here from elsewhere."""

    async def __call__(self, name: str, platform: str) -> None:
        """Have an image of this name. Raises NotFound, Upstream."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bases:
    """Looks images up, and pulls those that are missing."""

    pipes: Pipes
    store: BlobStore
    images: Images
    pull: Pull | None = None

    async def find(self, ref: ImageRef, *, platform: str, fresh: bool) -> BaseImage:
        """An image. ``fresh``: ask its registry first. Raises NotFound."""
        wanted = ref.platform or platform
        if fresh and self.pull is not None:
            await self.pull(ref.name, wanted)
        try:
            detail = await self.images.inspect(ref.name)
        except NotFound:
            if self.pull is None or fresh:
                raise
            await self.pull(ref.name, wanted)
            detail = await self.images.inspect(ref.name)
        return await self._base(detail, ref)

    async def _base(self, detail: ImageDetail, ref: ImageRef) -> BaseImage:
        image, raw = detail.image, detail.raw
        found = await self.pipes.call(lambda: read_manifest(self.store, image))
        layers = tuple(
            Layer(
                chain_id=row.chain_id,
                diff_id=Digest.parse(diff_id),
                descriptor=descriptor,
                size=row.size,
            )
            for row, diff_id, descriptor in zip(
                detail.layers, image.diff_ids, found.layers, strict=True
            )
        )
        settings = Settings.base(raw.get("config") or {}, author=str(raw.get("author") or ""))
        triggers = tuple(
            parse_trigger(text, f"ONBUILD of {ref.name}") for text in settings.triggers
        )
        return BaseImage(
            settings=BaseSettings(settings=settings, triggers=triggers),
            root=Root(
                layers=layers,
                history=_history(raw.get("history") or [], len(layers)),
                epoch=max(EARLIEST, image.created_at // 10**9),
            ),
            platform=Platform(
                os=image.os, architecture=image.architecture, variant=str(raw.get("variant") or "")
            ),
            title=ref.name,
        )


def _history(found: list[Object], layers: int) -> tuple[Object, ...]:
    """An image's history with an entry for each layer, also where it was written without."""
    told = sum(1 for entry in found if not entry.get("empty_layer"))
    missing: list[Object] = [{"comment": "a layer without history"}] * max(0, layers - told)
    return (*found, *missing)
