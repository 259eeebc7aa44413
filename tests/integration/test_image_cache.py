"""Unpacked layers and disks as a cache of blobs, and the budget that collection keeps."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from filebench import (
    Bench,
    config_json,
    digest,
    directory,
    docker_archive,
    file,
    hard_link,
    run,
    tar,
)
from integration.test_image_life import guest_of
from needs import needs
from wirt.errors import Exhausted, NotFound
from wirt.host import uses
from wirt.host.collect import LayerCaches
from wirt.host.prune import Prune
from wirt.model.image import Image
from wirt.state.images import Orphans
from wirt.state.store import StoreTable

pytestmark = needs("root", "overlay")

MIB = 1024**2
BASE = tar(file("base", b"base"))


def noise(number: int, size: int = MIB) -> bytes:
    """A layer that does not compress."""
    return tar(file(f"noise{number}", os.urandom(size)))


async def drop_layers(b: Bench, image: Image) -> None:
    """Let the unpacked layers go, as collection does."""
    for chain_id in reversed(image.chain_ids):
        assert await b.layers.let_go(Orphans(chain_ids=(chain_id,)), owned=True)


async def use(b: Bench, image: Image) -> None:
    """Use an image of a base and a noise again and again; both are there each time."""
    for _ in range(15):
        async with b.images.ready(image):
            assert (b.diff(image) / "noise1").exists()
            await asyncio.sleep(0)
            assert (b.diff(image, 0) / "base").exists()
        await asyncio.sleep(0)


def usage(b: Bench) -> int:
    """Bytes of the store on the disk, by walking it."""
    places = (b.layout.blobs / "sha256", b.layout.uploads, b.layout.layers, b.layout.disks)
    return sum(size_below(place) for place in places if place.is_dir())


def size_below(place: Path) -> int:
    """What is in a directory, while files come and go in it."""
    total = 0
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(place):
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    total += size_below(Path(entry.path))
    return total


def test_layers_that_were_dropped_are_unpacked_again(tmp_path: Path) -> None:
    top = tar(file("base/.wh.x"), file("top", b"top"))

    async def story(b: Bench) -> None:
        config = config_json([BASE, top])
        (image,) = await b.load(docker_archive(BASE, gzip.compress(top), config=config))
        await drop_layers(b, image)
        assert b.on_disk()["layers"] == set()
        async with b.images.ready(image):
            assert (b.diff(image) / "top").read_bytes() == b"top"
            assert (b.diff(image, 0) / "base").read_bytes() == b"base"
            assert not await b.layers.let_go(Orphans(chain_ids=image.chain_ids[-1:]), owned=True)
        assert (await b.images.find("made")).id == image.id

    run(tmp_path, story)


def test_a_lost_blob_is_named(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(BASE))
        await drop_layers(b, image)
        (b.layout.blobs / "sha256" / digest(BASE)[7:]).unlink()
        with pytest.raises(NotFound, match=digest(BASE)) as failure:
            async with b.images.ready(image):
                pass
        assert "made" in failure.value.notes[0]

    run(tmp_path, story)


def test_what_a_guest_uses_stays(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(BASE))
        guest = guest_of(image)
        await b.add_guest(guest)
        assert not await b.layers.let_go(Orphans(chain_ids=image.chain_ids), owned=True)
        await b.remove_guest(guest)
        await drop_layers(b, image)

    run(tmp_path, story)


@needs("erofs")
def test_a_disk_is_made_although_the_layers_are_gone(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(BASE))
        await drop_layers(b, image)
        async with b.images.ready(image, layers=False, disk=True):
            assert len(b.on_disk()["disks"]) == 1
        assert await b.layers.let_go(Orphans(images=(image.id,)), owned=True)
        assert b.on_disk()["disks"] == set()
        (path,) = [b.layout.layers / image.chain_ids[0][7:]]
        assert path.is_dir()

    run(tmp_path, story)


def test_dropping_and_unpacking_at_once(tmp_path: Path) -> None:
    """Whoever holds a layer finds it, whatever collection does meanwhile."""

    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(BASE, noise(1, 1000)))

        async def drop() -> None:
            for _ in range(30):
                for chain_id in reversed(image.chain_ids):
                    await b.layers.let_go(Orphans(chain_ids=(chain_id,)), owned=True)
                await asyncio.sleep(0)

        await asyncio.gather(use(b, image), use(b, image), drop(), drop())

    run(tmp_path, story)


def test_a_trim_leaves_blobs_and_what_guests_use(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (used,) = await b.load(docker_archive(BASE, noise(1, 5000), tags=["used"]))
        (spare,) = await b.load(docker_archive(BASE, noise(2, 5000), tags=["spare"]))
        await b.add_guest(guest_of(used))
        unpacked = [LayerCaches(b.layers, StoreTable(b.db))]
        prune = Prune(b.images, b.table, b.collect, builds=[], unpacked=unpacked)
        before = b.on_disk()["blobs"]
        assert await prune.unpacked() >= 5000
        assert b.on_disk()["layers"] == {name[7:] for name in used.chain_ids}
        assert b.on_disk()["blobs"] == before
        async with b.images.ready(spare):
            assert (b.diff(spare) / "noise2").exists()

    run(tmp_path, story)


# --- the budget -----------------------------------------------------------------------------


def test_the_least_recently_used_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uses, "FRESH", 0)

    async def story(b: Bench) -> None:
        images = []
        for number in range(3):
            (image,) = await b.load(docker_archive(noise(number), tags=[f"n{number}"]))
            images.append(image)
            async with b.images.ready(image):
                pass
        async with b.images.ready(images[0]):
            pass
        assert usage(b) <= 12 * MIB
        (fourth,) = await b.load(docker_archive(noise(3, 3 * MIB), tags=["n3"]))
        assert usage(b) <= 12 * MIB
        left = b.on_disk()["layers"]
        assert images[1].chain_ids[0][7:] not in left
        assert images[0].chain_ids[0][7:] in left
        assert fourth.chain_ids[0][7:] in left
        for image in images:
            async with b.images.ready(image):
                assert usage(b) <= 12 * MIB
                assert b.diff(image).is_dir()

    run(tmp_path, story, max_disk=12 * MIB)


def test_what_does_not_fit_is_refused_with_the_figures(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(noise(1), tags=["kept"]))
        await b.add_guest(guest_of(image))
        for archive in (
            docker_archive(noise(2, 9 * MIB), tags=["big"]),
            docker_archive(gzip.compress(tar(file("zeros", bytes(9 * MIB)))), tags=["bomb"]),
        ):
            with pytest.raises(Exhausted, match=f"may take {8 * MIB} bytes") as failure:
                await b.load(archive)
            assert failure.value.code == "store.over-budget"
            assert usage(b) <= 8 * MIB
            assert len(b.on_disk()["layers"]) == 1
            assert b.on_disk()["uploads"] == set()
        await b.load(docker_archive(noise(3), tags=["fits"]))
        assert (b.diff(image) / "noise1").exists()

    run(tmp_path, story, max_disk=8 * MIB)


def crumbs() -> bytes:
    """Many files of one byte, each of which takes a block."""
    return tar(*(file(f"crumb{n}", b"x") for n in range(2000)))


def links() -> bytes:
    """A link to a file of the layer below, which the overlay file system copies for it."""
    return tar(hard_link("copy", "large"))


def folders() -> bytes:
    return tar(*(directory(f"folder{n}") for n in range(2000)))


@pytest.mark.parametrize("make", [crumbs, links, folders], ids=lambda make: make.__name__)
def test_what_takes_more_than_its_contents_is_refused(
    tmp_path: Path, make: Callable[[], bytes]
) -> None:
    base = tar(file("large", bytes(5 * MIB)))

    async def story(b: Bench) -> None:
        await b.load(docker_archive(gzip.compress(base), config=config_json([base]), tags=["base"]))
        await b.load(docker_archive(gzip.compress(BASE), config=config_json([BASE])))
        layers = [base, make()]
        archive = docker_archive(*map(gzip.compress, layers), config=config_json(layers))
        with pytest.raises(Exhausted, match=f"may take {8 * MIB} bytes"):
            await b.load(archive)
        assert usage(b) <= 8 * MIB

    run(tmp_path, story, max_disk=8 * MIB)


def test_images_without_a_name_go_when_room_is_needed(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (old,) = await b.load(docker_archive(noise(1, 2 * MIB)))
        (new,) = await b.load(docker_archive(noise(2, 2 * MIB)))
        assert [i.id for i in await b.images.all()] == [new.id, old.id]
        await b.load(docker_archive(noise(3, 3 * MIB), tags=["third"]))
        assert old.id not in [i.id for i in await b.images.all()]
        assert new.id in [i.id for i in await b.images.all()]
        assert usage(b) <= 11 * MIB

    run(tmp_path, story, max_disk=11 * MIB)


def test_many_at_once_keep_the_budget(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        async def one(number: int) -> None:
            archive = docker_archive(noise(number), tags=[f"n{number}"])
            (image,) = await b.load(archive)
            async with b.images.ready(image):
                assert b.diff(image).is_dir()
                assert usage(b) <= 16 * MIB

        await asyncio.gather(*(one(number) for number in range(6)))
        assert usage(b) <= 16 * MIB
        assert len(await b.images.all()) == 6

    run(tmp_path, story, max_disk=16 * MIB)
