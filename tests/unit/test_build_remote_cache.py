"""Build caches of registries that lie: what is not as it was announced never counts."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from liar import QUICK, Answer, Liar
from registrylab import Lab, lab, layers_of
from wirt.errors import Invalid, NotFound, Upstream
from wirt.host.build.caches import BuildCaches, name_of
from wirt.host.build.remote_cache import ARTIFACT, EMPTY, LIST, MOUNT, RemoteCache
from wirt.host.build.roots import BuildRoots
from wirt.host.build.stock import GZIP, Stock
from wirt.host.download import Downloads
from wirt.host.pipe import Pipes
from wirt.host.push import Push
from wirt.host.registries import Registries
from wirt.host.roots import Reach
from wirt.image import manifest
from wirt.image.manifest import Descriptor, Manifest
from wirt.image.remote.auth import ANONYMOUS
from wirt.image.remote.settings import Settings
from wirt.privileged.protocol import Cache
from wirt.state.build_cache import BuildCacheTable
from wirt.state.manifests import ManifestTable

KEY, OTHER = "a" * 64, "b" * 64
LAYER = gzip.compress(b"a layer" * 1000)
FILES = b"the files of a mount" * 100


class Mounts:
    """Cache mounts as they are restored."""

    def __init__(self) -> None:
        self.restored: dict[str, bytes] = {}

    async def all(self) -> tuple[Cache, ...]:
        return tuple(Cache(name=name_of(one), key=one, size=0, used_at=0) for one in self.restored)

    async def restore(self, cache_id: str, descriptor: int, **limits: int) -> None:
        assert set(limits) == {"max_bytes", "max_entries"}
        self.restored[cache_id] = os.pread(descriptor, 1 << 20, 0)


class Importing:
    """A host without anything, and a registry with a cache."""

    def __init__(self, made: Lab, liar: Liar) -> None:
        self.lab, self.liar = made, liar
        self.table = BuildCacheTable(made.db)
        self.mounts = Mounts()
        self.pipes = Pipes()
        self.registries = Registries(Settings(), patience=QUICK)
        reach = Reach(ManifestTable(made.db), [])
        reach.add(BuildRoots(self.table))
        layers = layers_of(made.store, made.db, reach)
        self.cache = RemoteCache(
            registries=self.registries,
            downloads=Downloads(self.pipes, made.store),
            push=cast(Push, None),
            pipes=self.pipes,
            store=made.store,
            layers=layers,
            stock=Stock(
                pipes=self.pipes,
                store=made.store,
                table=self.table,
                caches=cast(BuildCaches, self.mounts),
            ),
        )

    def offer(
        self, contents: object, *layers: Descriptor, artifact: str = ARTIFACT, listed: str = LIST
    ) -> None:
        """Serve this list with these further layers as ``team/app:1``."""
        data = gzip.compress(json.dumps(contents).encode())
        document = manifest.encode_manifest(
            Manifest(
                config=self.liar.add_blob(b"{}", EMPTY),
                layers=(self.liar.add_blob(data, listed), *layers),
                artifact_type=artifact,
            )
        )
        self.liar.add_document(document, manifest.OCI_MANIFEST, "1")

    async def take(self) -> tuple[int, int]:
        """Take everything; numbers of results and mounts."""
        listed = await self.cache.open(f"{self.liar.host}/team/app:1", ANONYMOUS)
        with self.lab.store.lease() as lease:
            for key in listed.steps:
                assert await self.cache.fetch(listed, key, lease)
            for mount in listed.mounts:
                assert await self.cache.mount(listed, mount)
            assert not await self.cache.fetch(listed, "f" * 64, lease)
        assert not await self.cache.mount(listed, "none")
        return len(listed.steps), len(listed.mounts)

    async def keys(self) -> set[str]:
        return {row.key for row, _ in await self.table.all()}


def tell_story(folder: Path, story: Callable[[Importing], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), lab(folder) as made, Liar().serve() as liar:
            importing = Importing(made, liar)
            try:
                await story(importing)
            finally:
                await importing.registries.close()
                importing.pipes.close()

    asyncio.run(main())


def step(layer: Descriptor | None, /, **more: Any) -> dict[str, Any]:
    row = {
        "key": KEY, "site": "s", "inputs": "{}", "size": 7000,
        "chain_id": f"sha256:{'c' * 64}" if layer else "",
        "diff_id": f"sha256:{'d' * 64}" if layer else "",
        "blob": str(layer.digest) if layer else "", "blob_size": layer.size if layer else 0,
    }  # fmt: skip
    return {**row, **more}


def contents(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"edition": 1, "steps": list(steps), **more}


def test_a_cache_is_taken_in(tmp_path: Path) -> None:
    async def story(importing: Importing) -> None:
        liar = importing.liar
        layer = liar.add_blob(LAYER, GZIP)
        mount = liar.add_blob(gzip.compress(FILES), MOUNT)
        unasked = liar.add_blob(b"nobody names it", GZIP)
        listed = contents(step(layer), step(None, key=OTHER), mounts=["m"])
        importing.offer(listed, layer, unasked, mount)
        assert await importing.take() == (2, 1)
        assert await importing.keys() == {KEY, OTHER}
        assert importing.mounts.restored == {"m": FILES}
        assert importing.lab.files() == {str(layer.digest)}  # the rest went again
        assert not liar.asked(str(unasked.digest))

    tell_story(tmp_path, story)


def test_what_strangers_say_replaces_nothing(tmp_path: Path) -> None:
    async def story(importing: Importing) -> None:
        layer = importing.liar.add_blob(LAYER, GZIP)
        importing.offer(contents(step(layer)), layer)
        await importing.take()
        other = importing.liar.add_blob(b"another layer", GZIP)
        importing.offer(contents(step(other)), other)
        await importing.take()
        row = await importing.table.get(KEY)
        assert row is not None
        assert row.blob == str(layer.digest)

    tell_story(tmp_path, story)


def _lies() -> dict[str, Callable[[Importing], None]]:
    def offer(*steps: dict[str, Any], **more: Any) -> Callable[[Importing], None]:
        def work(importing: Importing) -> None:
            layer = importing.liar.add_blob(LAYER, GZIP)
            importing.offer(contents(*steps, **more), layer)

        return work

    def of_layer(**more: Any) -> Callable[[Importing], None]:
        def work(importing: Importing) -> None:
            layer = importing.liar.add_blob(LAYER, GZIP)
            importing.offer(contents(step(layer, **more)), layer)

        return work

    absent = Descriptor(media_type=GZIP, digest=Liar().add_blob(b"x").digest, size=1)
    return {
        "a layer that it has not": offer(step(absent)),
        "a layer of another size": of_layer(blob_size=5),
        "a size below nothing": of_layer(size=-1),
        "a size without end": of_layer(size=1 << 62),
        "a key that is none": of_layer(key="../../etc"),
        "a blob that is a path": of_layer(blob="../../etc/passwd"),
        "a chain that is a path": of_layer(chain_id="sha256:../../x"),
        "a blob without what it unpacks to": of_layer(diff_id=""),
        "inputs that are no JSON": of_layer(inputs="{"),
        "inputs of another form": of_layer(inputs='{"a": {"b": 1}}'),
        "a mount that it has not": offer(mounts=["m"]),
        "another edition": offer(edition=2),
        "no steps": lambda importing: importing.offer({"edition": 1}),
        "no object": lambda importing: importing.offer([1]),
        "no list": lambda importing: importing.offer({}, listed=GZIP),
        "a bomb": lambda importing: importing.offer({"edition": 1, "x": "0" * (65 << 20)}),
        "an artifact of another kind": lambda importing: importing.offer({}, artifact="x/y"),
    }


@pytest.mark.parametrize("name", _lies())
def test_nothing_of_a_lie_counts(name: str, tmp_path: Path) -> None:
    async def story(importing: Importing) -> None:
        _lies()[name](importing)
        with pytest.raises(Invalid):
            await importing.take()
        assert await importing.keys() == set()
        assert importing.lab.files() == set()
        assert importing.mounts.restored == {}

    tell_story(tmp_path, story)


def test_a_layer_that_is_not_what_its_digest_says(tmp_path: Path) -> None:
    async def story(importing: Importing) -> None:
        layer = importing.liar.add_blob(LAYER, GZIP)
        importing.liar.blobs[str(layer.digest)] = LAYER[:-1] + b"!"
        importing.offer(contents(step(layer)), layer)
        with pytest.raises(Upstream):
            await importing.take()
        assert await importing.keys() == set()
        assert importing.lab.files() == set()

    tell_story(tmp_path, story)


def test_nothing_there(tmp_path: Path) -> None:
    async def story(importing: Importing) -> None:
        with pytest.raises(NotFound) as failure:
            await importing.take()
        assert failure.value.code == "registry.not-found"
        importing.liar.lie_at("/manifests/", Answer(status=404))
        with pytest.raises(NotFound):
            await importing.take()

    tell_story(tmp_path, story)
