"""Collection while the registry is used: nothing that is wanted goes, and the rest does."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

from registrylab import Client, Lab, digest_of, image, lab
from waiting import PATIENCE

REPOSITORY = "busy/app"
ENOUGH = {"pushed": 40, "deleted": 10, "collected": 6}
"""How much must have happened; how long that takes depends on the machine."""


async def whole(ask: Client, reference: str) -> None:
    """The manifest is there, and all that it names, with the right content."""
    found = await ask("GET", f"/v2/{REPOSITORY}/manifests/{reference}")
    assert found.status == 200, (reference, found)
    assert digest_of(found.body) == found.headers["Docker-Content-Digest"]
    for part in (found.json["config"], *found.json["layers"]):
        blob = await ask("GET", f"/v2/{REPOSITORY}/blobs/{part['digest']}")
        assert blob.status == 200, (reference, part, blob)
        assert digest_of(blob.body) == part["digest"]


def test_what_is_deleted_leaves_the_disk_and_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        async with lab(tmp_path) as own:
            ask = await own.serve()
            kept = await ask.image(REPOSITORY, "kept", b"shared", b"kept")
            gone = await ask.image(REPOSITORY, "gone", b"shared", b"gone")
            await ask.blob(REPOSITORY, b"not named yet")
            assert await own.sweep() == 0
            await ask("DELETE", f"/v2/{REPOSITORY}/manifests/{digest_of(gone)}")
            assert (await own.parts.collect.collect()).expired == 0
            assert digest_of(gone) not in own.files()
            assert digest_of(b"gone") in own.files()  # in its grace
            done = await own.parts.collect.collect(grace=0)
            assert (done.expired, done.removed) == (2, 2)
            left = {part["digest"] for part in json.loads(kept)["layers"]}
            left |= {digest_of(kept), json.loads(kept)["config"]["digest"]}
            assert own.files() == left
            await whole(ask, "kept")
            await own.parts.manifests.remove_repository(REPOSITORY)
            assert await own.sweep() == len(left)
            assert own.files() == set()

    asyncio.run(story())


def short(counts: dict[str, int]) -> bool:
    """Whether too little has happened yet."""
    return any(counts[what] < least for what, least in ENOUGH.items())


def test_pushes_and_deletions_while_collecting(tmp_path: Path) -> None:
    """Four clients push, mount and delete images of the same few layers while the collector runs
    without a pause and without grace; a push that was answered 201 is whole until it is deleted."""
    counts = {"pushed": 0, "retried": 0, "deleted": 0, "collected": 0}

    async def user(ask: Client, number: int, end: float) -> None:
        chance = random.Random(number)
        layers = [b"layer %d" % n for n in range(4)]
        while short(counts) and asyncio.get_running_loop().time() < end:
            tag = f"t{number}"
            chosen = chance.sample(layers, 2)
            # one part of its own: what everybody pushes all the time is never out of use for as
            # long as a collection takes on a slow machine
            config = b"config %d of %d" % (counts["pushed"], number)
            for data in (config, *chosen):
                await ask.blob(REPOSITORY, data)
            done = await ask.manifest(REPOSITORY, tag, image(config, chosen))
            if done.status == 404:  # a blob expired before the manifest named it: push again
                assert done.code == "MANIFEST_BLOB_UNKNOWN"
                counts["retried"] += 1
                continue
            assert done.status == 201, done
            counts["pushed"] += 1
            await whole(ask, tag)
            if chance.random() < 0.5:
                assert (await ask("DELETE", f"/v2/{REPOSITORY}/manifests/{tag}")).status == 202
                counts["deleted"] += 1

    async def collector(own: Lab) -> None:
        while True:
            counts["collected"] += (await own.parts.collect.collect(grace=0.02)).removed

    async def story() -> None:
        async with lab(tmp_path) as own:
            ask = await own.serve()
            end = asyncio.get_running_loop().time() + PATIENCE
            async with asyncio.TaskGroup() as group:
                collecting = group.create_task(collector(own))
                users = [group.create_task(user(ask, n, end)) for n in range(4)]
                await asyncio.wait(users)
                collecting.cancel()
            for tag in (await ask("GET", f"/v2/{REPOSITORY}/tags/list")).json["tags"]:
                await whole(ask, tag)
            await own.parts.manifests.remove_repository(REPOSITORY)
            await own.sweep()
            assert own.files() == set()

    asyncio.run(story())
    assert not short(counts), counts


def test_a_head_keeps_a_blob_for_who_is_about_to_name_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with lab(tmp_path) as own:
            ask = await own.serve()
            digest = await ask.blob(REPOSITORY, b"config")
            await asyncio.sleep(0.3)
            assert (await ask("HEAD", f"/v2/{REPOSITORY}/blobs/{digest}")).status == 200
            assert (await own.parts.collect.collect(grace=0.25)).expired == 0
            assert (await ask.manifest(REPOSITORY, "t", image(b"config"))).status == 201
            await asyncio.sleep(0.3)
            assert (await own.parts.collect.collect(grace=0.25)).removed == 0
            await whole(ask, "t")

    asyncio.run(story())


def test_repositories_outlive_the_daemon_and_uploads_do_not(tmp_path: Path) -> None:
    async def story() -> None:
        async with lab(tmp_path) as own:
            ask = await own.serve(port=0)
            await ask.image(REPOSITORY, "t", b"layer")
            place = (await ask("POST", f"/v2/{REPOSITORY}/blobs/uploads/")).place
            assert (await ask("PATCH", place, b"half")).status == 202
        async with lab(tmp_path) as own:
            assert list((tmp_path / "uploads").iterdir()) == []
            await own.parts.listeners.open()  # at the same address
            ask = Client(own.http, ask.base)
            await whole(ask, "t")
            assert (await ask("PATCH", place, b"rest")).code == "BLOB_UPLOAD_UNKNOWN"
            assert await own.sweep() == 0

    asyncio.run(story())
