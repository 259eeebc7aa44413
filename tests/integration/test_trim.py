"""The store is never larger than its layers unpacked, but for what is likely to be run."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from buildbench import Builder
from filebench import Bench, config_json, docker_archive, file, pieces, run, tar
from integration.test_image_cache import MIB, noise, usage, use
from integration.test_image_life import guest_of
from integration.test_store_check import check
from needs import needs
from wirt.host import uses
from wirt.host.build.wish import BuildWish
from wirt.host.collect import LayerCaches
from wirt.host.trim import Trim
from wirt.host.upkeep import Upkeep
from wirt.model.image import Image
from wirt.state.images import Orphans
from wirt.state.store import StoreTable

pytestmark = needs("root", "overlay")

BASE = tar(*(file(f"base{n}", b"%d " % n * 40_000) for n in range(20)))
"""Some MiB that compress well."""


def trimmer(b: Bench) -> Trim:
    table = StoreTable(b.db)
    unpacked = LayerCaches(b.layers, table)
    return Trim(
        collect=b.collect, unpacked=unpacked, uses=b.uses, images=b.table, table=table,
        store=b.store,
    )  # fmt: skip


def layers(b: Bench) -> set[str]:
    return {f"sha256:{name}" for name in b.on_disk()["layers"]}


async def base(b: Bench, name: str = "base", data: bytes = BASE) -> Image:
    config = config_json([data])
    (image,) = await b.load(docker_archive(gzip.compress(data), config=config, tags=[name]))
    return image


async def derive(
    b: Bench, builder: Builder, number: int, *, more: str = "", size: int = 0
) -> Image:
    """An image on the base, with a file of its own. ``size``: bytes of it that do not compress."""
    text = f"FROM base\nCOPY own /own{number}\n{more}"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in (
            ("Dockerfile", text.encode()),
            ("own", b"%d " % number * 50_000 + os.urandom(size)),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

    wish = BuildWish(tags=(f"derived{number}",))
    made = await builder.use_case.run(wish, pieces(out.getvalue()), b.tell)
    return await b.images.get(made.id)


def test_ten_derived_images_take_no_more_than_their_layers(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        builder = Builder.on(b)
        image = await base(b)
        derived = [await derive(b, builder, number) for number in range(10)]
        found = await b.collect.measure()
        unpacked = sum(found.layers.values())
        assert usage(b) > unpacked, "blobs and unpacked layers"
        assert await trimmer(b).run() > 0
        assert usage(b) <= unpacked
        assert await trimmer(b).run() == 0, "nothing is dropped without need"
        assert await check(b, deep=True) == []
        for one in derived[:3]:
            async with b.images.ready(one):
                assert (b.diff(one, 0) / "base3").exists()
                assert b.diff(one).is_dir()
        assert image.chain_ids[0] in layers(b)

    run(tmp_path, story)


def test_what_came_or_ran_stays_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(b: Bench) -> None:
        image = await base(b)
        assert await trimmer(b).run() == 0, "it came to be run"
        monkeypatch.setattr(uses, "FIRST_RUN", 0)
        async with b.images.ready(image):
            pass
        assert await trimmer(b).run() == 0, "it is run again and again"
        monkeypatch.setattr(uses, "RUN_AGAIN", 0)
        guest = guest_of(image)
        await b.add_guest(guest)
        assert await trimmer(b).run() == 0, "a guest has it"
        await b.remove_guest(guest)
        with b.images.hold(image):
            assert await trimmer(b).run() == 0, "somebody is about to use it"
        assert await trimmer(b).run() > 0
        assert layers(b) == set()

    run(tmp_path, story)


def test_a_base_of_builds_is_not_what_came_to_be_run(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        builder = Builder.on(b)
        image = await base(b)
        made = await derive(b, builder, 1)
        async with b.images.ready(made):
            pass
        await trimmer(b).run()
        assert layers(b) == set(made.chain_ids), "the image that was built is run"
        other = await base(b, "base", tar(file("other", b"x" * MIB)))
        again = await derive(b, builder, 2)
        assert again.chain_ids[0] == other.chain_ids[0]
        await trimmer(b).run()
        assert other.chain_ids[0] not in layers(b)
        assert image.chain_ids[0] in layers(b)

    run(tmp_path, story)


def test_the_least_recently_used_goes_and_no_more_than_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uses, "FIRST_RUN", 0)
    monkeypatch.setattr(uses, "RUN_AGAIN", 0)

    async def story(b: Bench) -> None:
        images = []
        for number in range(4):
            data = tar(file(f"n{number}", b"%d" % number * 2 * MIB))
            images.append(await base(b, f"n{number}", data))
        async with b.images.ready(images[0]):
            pass
        await trimmer(b).run()
        kept = [image.chain_ids[0] in layers(b) for image in images]
        assert kept == [True, False, True, True]

    run(tmp_path, story)


def test_running_and_trimming_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uses, "FIRST_RUN", 0)
    monkeypatch.setattr(uses, "RUN_AGAIN", 0)

    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(tar(file("base", b"b")), noise(1, 5000)))

        async def drop() -> None:
            for _ in range(10):
                await trimmer(b).run()

        await asyncio.gather(use(b, image), use(b, image), drop(), drop())

    run(tmp_path, story)


def test_it_is_done_in_a_quiet_moment_after_a_build(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        builder = Builder.on(b)
        await base(b)
        upkeep = Upkeep(b.layers.ended, quiet=0.2)
        trimmed = asyncio.Event()

        async def chore() -> None:
            if await trimmer(b).run():
                trimmed.set()

        async def broken() -> None:
            raise OSError("on purpose")

        upkeep.chores |= {"broken": broken, "trim": chore}
        serving = asyncio.ensure_future(upkeep.serve())
        try:
            await derive(b, builder, 1)
            await asyncio.wait_for(trimmed.wait(), 30)
            assert len(layers(b)) < 2
        finally:
            serving.cancel()

    run(tmp_path, story)


def test_a_check_looks_at_layers_that_only_builds_keep(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        builder = Builder.on(b)
        await base(b)
        for words in ("", "RUN one\nRUN two\n"):
            made = await derive(b, builder, 1, more=words)
        await b.images.remove("derived1")
        assert await check(b, deep=True) == []
        (left,) = (b.diff(made, 2) / "ran").iterdir()
        left.write_text("not what the step left")
        assert len(await check(b, deep=True)) == 1
        (found,) = await check(b, deep=True, repair=True)
        assert f"'/ran/{left.name}'" in found
        assert made.chain_ids[2] not in layers(b)
        for chain_id in made.chain_ids[:2]:
            assert await b.layers.let_go(Orphans(chain_ids=(chain_id,)), owned=True)
        assert await check(b, deep=True) == [], "what is below is unpacked for it"
        assert made.chain_ids[0] in layers(b)
        again = await derive(b, builder, 1, more=words + "RUN three\n")
        assert again.chain_ids[:-1] == made.chain_ids
        assert await check(b, deep=True) == []

    run(tmp_path, story)


def test_a_layer_that_was_removed_by_hand_is_unpacked_again(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        builder = Builder.on(b)
        image = await base(b)
        place = b.layout.layers / image.chain_ids[0][7:]
        for number, victim in enumerate((place, place / "diff")):
            victim.rename(tmp_path / f"away{number}")
            await derive(b, builder, number)
            assert (b.diff(image) / "base3").exists()
        assert await check(b, deep=True) == []

    run(tmp_path, story)
