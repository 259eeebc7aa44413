"""Pulls and pushes of the real use cases between a bench (see filebench) and a liar."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filebench import Bench, bench, config_json, helper_process
from liar import QUICK, Liar
from wirt.host.download import Downloads
from wirt.host.pull import Pull, PullWish
from wirt.host.registries import Registries
from wirt.image.remote.settings import Settings
from wirt.model.image import Image

T = TypeVar("T")


@dataclass(kw_only=True)
class Remote:
    """A bench with a registry in reach."""

    bench: Bench
    liar: Liar
    registries: Registries
    pull_images: Pull

    async def pull(self, tag: str = "1", **wish: Any) -> Image:
        """Pull ``team/app:TAG`` from the liar."""
        mark = "@" if ":" in tag else ":"
        reference = f"{self.liar.host}/team/app{mark}{tag}"
        (image,) = await self.pull_images.pull(
            PullWish(reference=reference, **wish), self.bench.tell
        )
        return image

    def add_image(self, *layers: bytes, tag: str = "1", **config: Any) -> None:
        """Give the liar an image of these uncompressed tars."""
        self.liar.add_image(json.loads(config_json(list(layers), **config)), *layers, tag=tag)


@contextlib.asynccontextmanager
async def remote(made: Bench, liar: Liar, settings: Settings | None) -> AsyncIterator[Remote]:
    registries = Registries(settings or Settings(), patience=QUICK)
    try:
        yield Remote(
            bench=made,
            liar=liar,
            registries=registries,
            pull_images=Pull(
                registries=registries,
                downloads=Downloads(made.pipes, made.store),
                layers=made.layers,
                load=made.load_images,
                table=made.table,
                bus=made.bus,
            ),
        )
    finally:
        await registries.close()


def run(
    base: Path, story: Callable[[Remote], Awaitable[T]], *, settings: Settings | None = None
) -> T:
    """Run a story with a fresh bench and a fresh liar."""

    async def whole() -> T:
        async with (
            bench(ctx) as made,
            Liar().serve() as liar,
            remote(made, liar, settings) as together,
        ):
            return await asyncio.wait_for(story(together), 60)

    with helper_process(base) as ctx:
        return asyncio.run(whole())
