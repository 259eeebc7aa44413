"""Collection while the registry is used: nothing that is wanted goes, and the rest does."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path

from registrylab import Client, Lab, digest_of, image, lab
from wirt.state.repositories import RepositoryTable

REPOSITORY = "busy/app"
ROUNDS = 20


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
            asked = await ask.image(REPOSITORY, "asked", b"shared", b"asked for")
            await ask("HEAD", f"/v2/{REPOSITORY}/blobs/{digest_of(b'asked for')}")
            own.freed.clear()
            for document in (gone, asked):
                await ask("DELETE", f"/v2/{REPOSITORY}/manifests/{digest_of(document)}")
            assert own.freed.is_set(), "a collection is due"
            assert (await own.parts.collect.collect()).expired == 1
            assert digest_of(gone) not in own.files()
            assert digest_of(b"gone") not in own.files(), "only the manifest named it"
            assert digest_of(b"asked for") in own.files(), "somebody may be about to name it"
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


def test_pushes_and_deletions_while_collecting(tmp_path: Path) -> None:
    """Four clients push and delete images with the same layers while the collector runs without a
    pause and nearly without grace; what was answered 201 is whole until it is deleted."""
    counts = {"retried": 0, "deleted": 0, "collected": 0}

    async def user(ask: Client, seed: int) -> None:
        chance = random.Random(seed)
        layers = [b"layer %d" % n for n in range(4)]
        tag, config = f"t{seed}", b"config of %d" % seed
        number = 0
        while number < ROUNDS:
            chosen = chance.sample(layers, 2)
            for data in (config, *chosen):
                await ask.blob(REPOSITORY, data)
            manifest = image(config, chosen)
            done = await ask.manifest(REPOSITORY, tag, manifest)
            if done.status == 404:  # a blob expired before the manifest named it: push again
                assert done.code == "MANIFEST_BLOB_UNKNOWN"
                counts["retried"] += 1
                continue
            assert done.status == 201, done
            number += 1
            await whole(ask, tag)
            if number % 2 == 0:
                path = f"/v2/{REPOSITORY}/manifests/{digest_of(manifest)}"
                assert (await ask("DELETE", path)).status == 202
                counts["deleted"] += 1

    async def collector(own: Lab) -> None:
        while True:
            counts["collected"] += (await own.parts.collect.collect(grace=0.2)).removed

    async def story() -> None:
        async with lab(tmp_path) as own:
            ask = await own.serve()
            async with asyncio.TaskGroup() as group:
                collecting = group.create_task(collector(own))
                users = [group.create_task(user(ask, n)) for n in range(4)]
                await asyncio.wait(users)
                collecting.cancel()
            for tag in (await ask("GET", f"/v2/{REPOSITORY}/tags/list")).json["tags"]:
                await whole(ask, tag)
            counts["collected"] += (await own.parts.collect.collect(grace=0)).removed
            await own.parts.manifests.remove_repository(REPOSITORY)
            await own.sweep()
            assert own.files() == set()

    asyncio.run(story())
    assert counts["deleted"] == 4 * ROUNDS / 2
    assert counts["collected"] >= 4, counts  # at least each user's last manifest


def test_a_head_keeps_a_blob_for_who_is_about_to_name_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with lab(tmp_path) as own:
            ask = await own.serve()
            table = RepositoryTable(own.db)
            digest = await ask.blob(REPOSITORY, b"config")
            pushed = time.time_ns()
            assert (await ask("HEAD", f"/v2/{REPOSITORY}/blobs/{digest}")).status == 200
            assert await table.expire(pushed) == 0
            assert (await ask.manifest(REPOSITORY, "t", image(b"config"))).status == 201
            assert await table.expire(time.time_ns()) == 0
            assert await own.sweep() == 0
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
    assert {path.stat().st_mode & 0o077 for path in tmp_path.glob("wirt.db*")} == {0}
