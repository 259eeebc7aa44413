"""SIGKILL of the daemon at every step of load, removal, clean-up and collection.

Afterwards the next daemon sweeps, and the check finds a store without a dangling name, a lost
blob or half a layer; all that was there before and was not to go is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest import mock

import pytest

from filebench import Bench, bench, docker_archive, file, helper_process, tar
from integration.test_image_indexes import multi
from integration.test_image_life import sweep
from integration.test_store_check import check
from integration.test_trim import trimmer
from needs import needs
from wirt.errors import NotFound
from wirt.host import uses
from wirt.host.allowance import Allowance
from wirt.host.collect import LayerCaches
from wirt.host.prune import Prune
from wirt.privileged.context import Context
from wirt.state.store import StoreTable

pytestmark = needs("root", "overlay")

MIB = 1024**2
BASE, TOP = tar(file("base", b"b" * 3000)), tar(file("top", b"t"))
Story = Callable[[Bench], Awaitable[object]]


def noise(number: int) -> bytes:
    """A layer that does not compress, of two MiB."""
    return tar(file(f"n{number}", os.urandom(2 * MIB)))


async def load(b: Bench) -> None:
    await b.load(docker_archive(BASE, TOP))


async def load_index(b: Bench) -> None:
    await b.load(multi().tar())


async def load_over(b: Bench) -> None:
    """The name is another image's, and leads to an index, whose platforms go with it."""
    await b.load(docker_archive(BASE, tags=["multi:1"]))


async def remove(b: Bench) -> None:
    await b.images.remove("multi:1")


async def prune(b: Bench) -> None:
    await Prune(b.images, b.table, b.collect, builds=[], unpacked=[]).images(everything=True)


async def collect(b: Bench) -> None:
    """Room for one more makes the layers of others go, and an image without a name."""
    await b.load(docker_archive(noise(4), tags=["fourth"]))


async def nothing(b: Bench) -> None:
    del b


async def fill(b: Bench) -> None:
    for number, name in enumerate(("first", "second", "first")):
        await b.load(docker_archive(noise(number), tags=[name]))


async def relieve(b: Bench) -> None:
    """Nothing may be left of what can be made again."""
    caches = [LayerCaches(b.layers, StoreTable(b.db))]
    with mock.patch.multiple(uses, FIRST_RUN=0, RUN_AGAIN=0):
        bounds = Allowance(collect=b.collect, caches=caches, uses=b.uses, store=b.store, maximum=1)
        await bounds.run()


async def trim(b: Bench) -> None:
    """Nothing is likely to be run, so what is unpacked makes up for the blobs."""
    with mock.patch.multiple(uses, FIRST_RUN=0, RUN_AGAIN=0):
        await trimmer(b).run()


STORE = ("store.rename", "store.renamed", "image.noted")
GONE = ("store.removed", "store.collected")
CASES: tuple[tuple[Story, Story, tuple[str, ...]], ...] = (
    (nothing, load, STORE),
    (nothing, load_index, STORE),
    (load_index, load_over, (*STORE, *GONE)),
    (load_index, remove, ("image.untagged", "image.erased", "layer.dropped", *GONE)),
    (load_index, prune, ("image.untagged", "image.erased", "layer.dropped", *GONE)),
    (fill, relieve, ("allowance.evicted",)),
    (fill, trim, ("trim.dropped", "layer.dropped")),
    (fill, collect, ("collect.evicted", "layer.dropped", *STORE)),
)
"""What is there before, what is cut, and the points on its way."""


@pytest.mark.parametrize(
    ("before", "cut", "point"),
    [(before, cut, point) for before, cut, points in CASES for point in points],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_daemon_that_is_killed(tmp_path: Path, before: Story, cut: Story, point: str) -> None:
    async def prepare(ctx: Context) -> set[str]:
        async with bench(ctx) as b:
            await before(b)
            return {name for image in await b.images.all() for name in image.references}

    async def dies(ctx: Context) -> None:
        async with bench(ctx, max_disk=15 * MIB if cut is collect else 0) as b:
            os.environ["WIRT_FAULT"] = point
            await cut(b)

    async def after(ctx: Context, names: set[str]) -> None:
        async with bench(ctx, max_disk=15 * MIB) as b:
            layers, images = await b.images.known()
            sweep(ctx, layers=layers, images=images)
            await b.images.sweep_blobs()
            assert b.on_disk()["uploads"] == set()
            assert await check(b, deep=True) == []
            left = await b.images.all()
            if cut not in {remove, prune}:
                assert names <= {name for image in left for name in image.references}
            for image in left:
                with contextlib.suppress(NotFound):  # room for another may make one go
                    async with b.images.ready(image):
                        assert b.diff(image).is_dir()
                    await b.save(image.id)
            for name in names & {n for image in await b.images.all() for n in image.references}:
                await b.save(name)
            with contextlib.suppress(NotFound):  # it was removed before the end
                await cut(b)
            assert await check(b, deep=True) == []

    with helper_process(tmp_path) as ctx:
        names = asyncio.run(asyncio.wait_for(prepare(ctx), 30))
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                asyncio.run(dies(ctx))
            os._exit(1)
        status = os.waitpid(pid, 0)[1]
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"{point} is not on the way"
        asyncio.run(asyncio.wait_for(after(ctx, names), 60))
