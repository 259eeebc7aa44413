"""What the tests of hostile archives share: how one is refused or accepted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from filebench import Bench, docker_archive, run
from wirt.errors import Invalid
from wirt.host.layers import Limits
from wirt.model.image import Image

SMALL = Limits(layer=8 * 1024 * 1024, floor=8 * 1024 * 1024, entries=2_000, archive=256 * 1024**2)


def refused(
    base: Path,
    archive: bytes,
    *,
    code: str,
    match: str | None = None,
    limits: Limits = SMALL,
) -> None:
    """Loading fails with this code, and leaves nothing."""

    async def story(b: Bench) -> None:
        with pytest.raises(Invalid, match=match) as failure:
            await b.load(archive)
        assert failure.value.code == code, failure.value.message
        assert "\n" not in failure.value.message
        assert len(failure.value.message) < 500
        assert await b.images.all() == []
        left = b.on_disk()
        assert all(not names for names in left.values()), left

    run(base, story, limits=limits)


def accepted(
    base: Path, *layers: bytes, look: Callable[[Bench, Image], None], limits: Limits = SMALL
) -> None:
    """Loading works; ``look`` judges what was made."""

    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(*layers))
        look(b, image)

    run(base, story, limits=limits)
