"""What can be made again stays within its bounds, though nobody has set a limit."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from buildbench import Builder
from filebench import Bench, config_json, docker_archive, file, run, tar
from integration.test_image_cache import MIB, noise, usage
from integration.test_image_life import guest_of
from integration.test_store_check import check
from integration.test_trim import base, derive, layers
from needs import needs
from wirt.errors import Exhausted
from wirt.host import uses
from wirt.host.allowance import Allowance
from wirt.host.build.roots import BuildResults
from wirt.host.collect import LayerCaches
from wirt.image import space
from wirt.state.store import StoreTable

pytestmark = needs("root", "overlay")


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk of which much is free, whatever the real one is like."""
    monkeypatch.setattr(space, "capacity", lambda _: 1024**4)
    monkeypatch.setattr(space, "room", lambda _: 1024**4 // 2)


def allowance(b: Bench, builder: Builder, maximum: int = 0) -> Allowance:
    """As the daemon has it, and asked when the disk is full."""
    made = Allowance(
        collect=b.collect,
        caches=[LayerCaches(b.layers, StoreTable(b.db)), BuildResults(b.layers, builder.cache)],
        uses=b.uses,
        store=b.store,
        maximum=maximum,
    )
    b.collect.relief = made.free
    return made


async def keys(builder: Builder) -> set[str]:
    return {row.key for row, _ in await builder.cache.all()}


def test_the_oldest_results_of_builds_go_and_images_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uses, "FIRST_RUN", 0)

    async def story(b: Bench) -> None:
        builder = Builder.on(b)
        await base(b)
        first = await derive(b, builder, 1, size=MIB)
        kept = await keys(builder)
        second = await derive(b, builder, 2, size=MIB)
        await b.images.remove("derived1")
        bounds = allowance(b, builder, 8 * MIB)
        assert await bounds.run() == 0, "all of it fits"
        before = usage(b)
        bounds = allowance(b, builder, MIB)
        freed = await bounds.run()
        assert before - usage(b) >= freed > MIB
        assert not kept & await keys(builder)
        assert await keys(builder), "an image has it, so nothing would be freed"
        assert layers(b).isdisjoint({first.chain_ids[-1], second.chain_ids[-1]})
        assert {i.id for i in await b.images.all()} >= {second.id}
        async with b.images.ready(second):
            assert b.diff(second).is_dir()
        assert await bounds.run() == 0
        assert await check(b, deep=True) == []

    run(tmp_path, story)


def test_what_is_used_or_likely_to_be_stays(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        builder = Builder.on(b)
        used = await base(b, "used", noise(1))
        fresh = await base(b, "fresh", noise(2))
        await b.add_guest(guest_of(used))
        assert await allowance(b, builder, 1).run() == 0
        assert layers(b) == {used.chain_ids[0], fresh.chain_ids[0]}

    run(tmp_path, story)


def test_a_full_disk_takes_the_caches_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(b: Bench) -> None:
        builder = Builder.on(b)
        used = await base(b, "used", noise(1))
        idle = await base(b, "base", noise(2, 4 * MIB))
        await b.add_guest(guest_of(used))
        monkeypatch.setattr(space, "room", lambda _: 14 * MIB - usage(b))
        allowance(b, builder)
        new = await base(b, "new", noise(3))
        assert layers(b) == {used.chain_ids[0], new.chain_ids[0]}, "they came for it"
        assert {i.id for i in await b.images.all()} == {used.id, idle.id, new.id}
        b.layers.limits = type(b.layers.limits)(least=0)
        data = tar(file("large", bytes(9 * MIB)))
        archive = docker_archive(gzip.compress(data), config=config_json([data]))
        with pytest.raises(Exhausted, match="no space left"):
            await b.load(archive)
        assert await check(b, deep=True) == []

    run(tmp_path, story)


def test_the_disk_that_is_short_is_looked_after_without_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(b: Bench) -> None:
        builder = Builder.on(b)
        image = await base(b)
        await derive(b, builder, 1)
        bounds = allowance(b, builder)
        assert await bounds.run() == 0
        monkeypatch.setattr(space, "room", lambda _: b.store.capacity() // 20 - 1)
        assert await bounds.run() > 0
        assert layers(b) == set()
        async with b.images.ready(image):
            assert (b.diff(image) / "base3").exists()
        assert await check(b, deep=True) == []

    run(tmp_path, story)
