"""A damaged store: every kind of damage is found, told, and repaired or given up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from filebench import Bench, digest, docker_archive, file, run, tar
from integration.test_image_life import guest_of
from needs import needs
from wirt.host.check import CheckStore
from wirt.model.image import Image
from wirt.state.store import StoreTable

pytestmark = needs("root", "overlay")

BASE, TOP = tar(file("base", b"b" * 5000)), tar(file("top", b"t"))
Damage = Callable[[Bench, Image], Awaitable[None]]


async def check(b: Bench, *, repair: bool = False, deep: bool = False) -> list[str]:
    """Findings as ``what: problem -> repair``; the verdict must agree with them."""
    told: list[Mapping[str, object]] = []

    async def tell(line: Mapping[str, object]) -> None:
        told.append(line)

    checker = CheckStore(
        helper=b.helper, store=b.store, layers=b.layers, images=b.images, table=b.table,
        manifests=b.manifests, rows=StoreTable(b.db),
    )  # fmt: skip
    verdict = await checker.run(tell, repair=repair, deep=deep)
    findings = [one["finding"] for one in told if "finding" in one]
    assert verdict.found == len(findings)
    assert verdict.wrong == sum(1 for f in findings if isinstance(f, dict) and not f["repair"])
    assert verdict.checked >= len(b.on_disk()["blobs"])
    return [
        f"{f['what']}: {f['problem']} -> {f['repair']}" for f in findings if isinstance(f, dict)
    ]


def blob(b: Bench, data: bytes) -> Path:
    return b.layout.blobs / "sha256" / digest(data)[7:]


async def flip(b: Bench, image: Image) -> None:
    data = bytearray(blob(b, BASE).read_bytes())
    data[600] ^= 1
    blob(b, BASE).write_bytes(data)


async def lose(b: Bench, image: Image) -> None:
    blob(b, BASE).unlink()


async def lose_manifest(b: Bench, image: Image) -> None:
    (b.layout.blobs / "sha256" / image.manifest[7:]).unlink()


async def halve(b: Bench, image: Image) -> None:
    (b.layout.layers / image.chain_ids[1][7:] / "about").unlink()


async def garble(b: Bench, image: Image) -> None:
    (b.layout.layers / image.chain_ids[1][7:] / "about").write_text("{")


async def add_blob(b: Bench, image: Image) -> None:
    blob(b, b"stray").write_bytes(b"stray")


async def add_stranger(b: Bench, image: Image) -> None:
    (b.layout.blobs / "sha256" / "notes.txt").write_text("x")


async def add_layer(b: Bench, image: Image) -> None:
    (b.layout.layers / digest(b"stray")[7:] / "diff").mkdir(parents=True)
    (b.layout.layers / digest(b"stray")[7:] / "about").write_text(
        '{"diff_id":"sha256:x","size":1,"entries":1}'
    )


async def add_disk(b: Bench, image: Image) -> None:
    b.layout.disks.mkdir(exist_ok=True)
    (b.layout.disks / f"{digest(b'stray')[7:]}.erofs").write_text("x")


async def forget_row(b: Bench, image: Image) -> None:
    await b.manifests.forget([image.manifest])


SHALLOW: dict[Damage, tuple[str, bool]] = {
    flip: ("blob: its content is another -> removed", False),
    lose: (f"image: lost: {digest(BASE)} -> removed, for it cannot be had here", False),
    lose_manifest: ("document: its blob is lost -> its row was removed", False),
    halve: ("layer: it is not whole -> removed; it is unpacked again when it is needed", True),
    garble: ("layer: it is not whole -> removed; it is unpacked again when it is needed", True),
    add_blob: ("blob: nobody wants it -> removed", True),
    add_stranger: ("blob: it is no blob -> removed", True),
    add_layer: (
        "layer: nobody wants it -> removed; it is unpacked again when it is needed", True
    ),
    add_disk: ("disk: it has no image -> removed", True),
    forget_row: ("document: it has no row -> its row was made", True),
}  # fmt: skip
"""Damage to what a repair says first, and whether the image is still there afterwards."""


@pytest.mark.parametrize("damage", SHALLOW, ids=lambda damage: damage.__name__)
def test_damage_is_found_and_repaired(tmp_path: Path, damage: Damage) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(BASE, TOP))
        assert await check(b, deep=True) == []
        await damage(b, image)
        told, kept = SHALLOW[damage]
        found = await check(b)
        assert told.partition(" -> ")[0] + " -> " in found
        assert all(line.endswith("-> ") for line in found), "nothing is repaired unasked"
        assert await check(b) == found
        assert told in await check(b, repair=True)
        assert await check(b, deep=True) == []
        assert [one.id for one in await b.images.all()] == ([image.id] if kept else [])
        if kept:
            async with b.images.ready(image):
                assert (b.diff(image) / "top").read_bytes() == b"t"
            await b.save("made")
        assert await b.load(docker_archive(BASE, TOP)) == (image,)
        assert await check(b, deep=True) == []

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda diff: (diff / "top").write_bytes(b"T"), "'/top' has other content"),
        (lambda diff: (diff / "top").unlink(), "'/top' is missing"),
        (lambda diff: (diff / "more").mkdir(), "'/more' does not belong there"),
        (lambda diff: (diff / "top").chmod(0o4755), "'/top' has another mode"),
    ],
    ids=["content", "missing", "more", "mode"],
)
def test_a_layer_that_changed(tmp_path: Path, change: Callable[[Path], object], said: str) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(BASE, TOP))
        change(b.diff(image))
        assert await check(b) == []
        assert await check(b, deep=True) == [f"layer: {said} -> "]
        (line,) = await check(b, deep=True, repair=True)
        assert line.startswith(f"layer: {said} -> removed")
        async with b.images.ready(image):
            assert (b.diff(image) / "top").read_bytes() == b"t"
        assert await check(b, deep=True) == []

    run(tmp_path, story)


def test_what_a_guest_needs_is_not_taken_away(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(BASE, TOP))
        guest = guest_of(image)
        await b.add_guest(guest)
        (b.diff(image) / "top").write_bytes(b"T")
        (line,) = await check(b, deep=True, repair=True)
        assert line == "layer: '/top' has other content, and a guest uses it: remove that first -> "
        blob(b, TOP).unlink()
        (line,) = await check(b, repair=True)
        assert "a guest was made from it: load or pull it again" in line
        assert (await b.images.find("made")).id == image.id
        assert await b.load(docker_archive(BASE, TOP)) == (image,)
        assert await check(b) == []

    run(tmp_path, story)
