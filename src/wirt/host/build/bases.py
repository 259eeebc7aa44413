"""The images that a build starts from or copies from."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from wirt.errors import Forbidden, NotFound, WirtError
from wirt.host.build.job import BaseImage
from wirt.host.build.progress import Progress, Vertex
from wirt.host.build.wallets import Wallet
from wirt.host.build.wish import BuildWish
from wirt.host.images import ImageDetail, Images
from wirt.host.layers import Tell
from wirt.host.pipe import Pipes
from wirt.host.pull import PullWish
from wirt.host.save import read_manifest
from wirt.image.build.dockerfile.parse import parse_trigger
from wirt.image.build.graph import BaseSettings, ImageRef
from wirt.image.build.outcome import EARLIEST, Layer, Root
from wirt.image.build.settings import Settings
from wirt.image.build.step import STDOUT
from wirt.image.document import Object
from wirt.image.platform import Platform, host
from wirt.image.platform import parse as parse_platform
from wirt.image.remote.auth import Late
from wirt.image.store import BlobStore
from wirt.model.image import Digest, Image, Reference


def fits(image: Image, wanted: Platform) -> bool:
    """Whether an image that is here is for the platform that was asked for."""
    return (image.os or "linux", image.architecture) == (wanted.os, wanted.architecture)


class Puller(Protocol):
    """Brings images here from their registries (:class:`wirt.host.pull.Pull`)."""

    async def pull(
        self, wish: PullWish, tell: Tell, *, late: Late | None = None
    ) -> tuple[Image, ...]:
        """Have an image here. Raises WirtError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bases:
    """Looks images up, and pulls those that are missing."""

    pipes: Pipes
    store: BlobStore
    images: Images
    puller: Puller

    async def find(
        self,
        ref: ImageRef,
        *,
        platform: str,
        wish: BuildWish,
        wallet: Wallet,
        progress: Progress,
    ) -> BaseImage:
        """An image, pulled when it is not here or ``wish`` says so. Raises NotFound, Upstream."""
        wanted = (
            parse_platform(ref.platform or wish.platform) if ref.platform or wish.platform else None
        )
        if not wish.pull:
            with contextlib.suppress(NotFound):
                detail = await self.images.inspect(ref.name)
                if wanted is None or fits(detail.image, wanted):
                    return await self._base(detail, ref)
        vertex = progress.vertex(f"[internal] pull {ref.name}")
        await vertex.begin()
        try:
            await self._pull(ref, ref.platform or platform, wallet, vertex)
        except WirtError as error:
            await vertex.failed(error.message)
            raise
        await vertex.done()
        return await self._base(await self.images.inspect(ref.name), ref)

    async def _pull(self, ref: ImageRef, platform: str, wallet: Wallet, vertex: Vertex) -> None:
        """``platform``: only a foreign one is asked for by name."""
        registry = Reference.parse(ref.name).domain

        async def tell(line: Mapping[str, object]) -> None:
            if line.get("state") in {"downloading", "done"} and "current" not in line:
                await vertex.log(STDOUT, f"{line['layer']}: {line['state']}\n".encode())
            elif "status" in line:
                await vertex.log(STDOUT, f"{line['status']}\n".encode())

        asked = PullWish(
            reference=ref.name,
            platform="" if platform == str(host()) else platform,
        )
        try:
            await self.puller.pull(asked, tell, late=partial(wallet.of, registry))
        except Forbidden as error:
            if not wallet.has(registry):
                error.facts["registry"] = registry  # the client may have something for it
            if registry in wallet.silent:
                error.hint = f"the client was asked what it has for {registry}, and did not answer"
            raise

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
