"""The build cache at a registry: an artifact whose layers are those of the results.

Its first layer is the list of what it holds; the layers of results are ordinary ones, so that a
registry has them once, together with those of the image; cache mounts are archives of their own.
Nothing of it is believed: a layer must have the digest and size that the list says, and what the
list does not name is not fetched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import msgspec

from wirt.aio import Team
from wirt.errors import Invalid, primary
from wirt.host.bars import Bar
from wirt.host.build.stock import EDITION, MAX_CONTENTS, Contents, Stock, damaged, read_contents
from wirt.host.build.works import GZIP
from wirt.host.download import Downloads
from wirt.host.layers import Layers, Tell
from wirt.host.pipe import CHUNK, Pipes
from wirt.host.push import Freight, Push
from wirt.host.registries import Registries
from wirt.image import catalog, manifest
from wirt.image.manifest import MAX_PARTS, OCI_MANIFEST, Descriptor, Manifest
from wirt.image.remote.auth import ANONYMOUS, Credentials
from wirt.image.remote.source import Source
from wirt.image.store import BlobStore, Lease, Upload
from wirt.model.image import Digest, Reference
from wirt.state.build_cache import CachedStep
from wirt.tar.deflate import Deflater
from wirt.tar.inflate import Inflater

ARTIFACT = "application/vnd.wirt.build-cache.v1"
LIST = "application/vnd.wirt.build-cache.list.v1+json+gzip"
MOUNT = "application/vnd.wirt.build-cache.mount.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSource:
    """Where to import from. ``credentials``: for this one registry."""

    reference: str
    credentials: Credentials = field(default=ANONYMOUS, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTarget:
    """Where to export to, and what: keys of results and ids of cache mounts, as a build has told
    them. ``credentials``: for this one registry."""

    reference: str
    keys: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    credentials: Credentials = field(default=ANONYMOUS, repr=False)


class RemoteCache:
    """Pushes and pulls the cache."""

    def __init__(
        self,
        *,
        registries: Registries,
        downloads: Downloads,
        push: Push,
        pipes: Pipes,
        store: BlobStore,
        layers: Layers,
        stock: Stock,
    ) -> None:
        self._registries = registries
        self._downloads = downloads
        self._push = push
        self._pipes = pipes
        self._store = store
        self._layers = layers
        self._stock = stock

    # --- out --------------------------------------------------------------------------------

    async def export(self, wish: CacheTarget, tell: Tell) -> str:
        """Push these results and cache mounts under a tag; the artifact's digest. Raises WirtError.

        What is no longer here is left out.
        """
        name = Reference.parse(wish.reference)
        if name.digest:
            raise Invalid(
                f"cannot push the build cache to {wish.reference[:200]!r}",
                hint="write HOST/REPOSITORY:TAG",
            )
        repository = self._registries.repository(name, wish.credentials)
        await tell({"status": f"exporting the build cache to {name.familiar}"})
        async with self._layers.intake() as intake:
            with contextlib.ExitStack() as stack:
                lease = intake.lease
                steps = await self._stock.steps(wish.keys, lease)
                mounts = await self._stock.mounts(wish.mounts, stack)
                freight = await self._pipes.call(lambda: self._pack(steps, mounts, lease))
            await self._push.send(freight, repository, lease, tell, tag=name.tag)
            await self._layers.tidy(intake)
        return freight.documents[-1].digest

    def _pack(
        self, steps: tuple[CachedStep, ...], mounts: tuple[tuple[str, Upload], ...], lease: Lease
    ) -> Freight:
        contents = Contents(
            edition=EDITION, steps=steps, mounts=tuple(mount for mount, _ in mounts)
        )
        layers = [
            self._deflate(iter([msgspec.json.encode(contents)]), LIST, lease),
            *_results(steps),
            *(self._deflate(_content(upload), MOUNT, lease) for _, upload in mounts),
        ]
        if len(layers) > MAX_PARTS:
            raise Invalid(
                f"the build cache has {len(layers)} layers, a registry takes {MAX_PARTS}",
                hint="export less of it: mode=min",
                code="build.cache-large",
            )
        empty = Descriptor(media_type=EMPTY, digest=self._store.put(b"{}", lease), size=2)
        data = manifest.encode_manifest(
            Manifest(config=empty, layers=tuple(layers), artifact_type=ARTIFACT)
        )
        digest = self._store.put(data, lease)
        row = catalog.row(catalog.read(data, digest, OCI_MANIFEST))
        parts = {part.digest: part for part in row.parts}
        return Freight(documents=(row,), blobs=tuple(parts.values()), absent=())

    def _deflate(self, chunks: Iterator[bytes], media_type: str, lease: Lease) -> Descriptor:
        deflater = Deflater()
        with self._store.upload() as upload:
            for chunk in chunks:
                upload.write(deflater.feed(chunk))
            upload.write(deflater.finish())
            digest = self._store.commit(upload, lease)
            return Descriptor(media_type=media_type, digest=digest, size=upload.size)

    # --- in ---------------------------------------------------------------------------------

    async def take(self, wish: CacheSource, tell: Tell) -> tuple[int, int]:
        """Take the cache under a name in; how many results and mounts it had.

        Raises NotFound when there is none, Invalid for what is none or is damaged; then nothing of
        it counts.
        """
        name = Reference.parse(wish.reference)
        await tell({"status": f"importing the build cache of {name.familiar}"})
        source = self._registries.source(name, wish.credentials)
        fetched = await source.manifest(name.digest or name.tag)
        found = manifest.parse(fetched.data, fetched.media_type)
        if not isinstance(found, Manifest) or found.artifact_type != ARTIFACT:
            raise Invalid(
                f"{name.familiar} is no build cache",
                hint="it is pushed by --cache-to type=registry; images have none in them",
                code="build.cache-none",
            )
        async with self._layers.intake() as intake:
            contents = await self._list(found, source, intake.lease)
            results, mounts = _wanted(contents, found)
            try:
                async with Team() as team:
                    for blob in (*results, *mounts):
                        bar = Bar(blob, tell)
                        team.start(self._downloads.blob(source, blob, intake.lease, bar))
            except BaseExceptionGroup as group:
                raise primary(group) from group
            await self._take(contents, mounts)
            await self._layers.tidy(intake)
        return len(contents.steps), len(contents.mounts)

    async def _list(self, found: Manifest, source: Source, lease: Lease) -> Contents:
        if not found.layers or found.layers[0].media_type != LIST:
            raise damaged("it has no list of what it holds")
        listed = found.layers[0]
        if listed.size > MAX_CONTENTS:
            raise damaged("its list is too large")

        async def nothing(_line: object) -> None: ...

        await self._downloads.blob(source, listed, lease, Bar(listed, nothing))
        return await self._pipes.call(lambda: self._read(listed.digest))

    def _read(self, digest: Digest) -> Contents:
        with self._store.open(digest) as file:
            stream = Inflater(file, limit=MAX_CONTENTS)
            data = b"".join(iter(lambda: stream.read(CHUNK), b""))
        return read_contents(data)

    async def _take(self, contents: Contents, mounts: list[Descriptor]) -> None:
        with contextlib.ExitStack() as stack:
            files = {}
            for number, blob in enumerate(mounts):
                upload = await self._pipes.call(self._store.new_upload)
                stack.callback(upload.discard)
                await self._pipes.call(partial(self._inflate, blob, upload))
                files[number] = upload
            await self._stock.take(contents, files)

    def _inflate(self, blob: Descriptor, upload: Upload) -> None:
        with self._store.open(blob.digest) as file:
            stream = Inflater(file, limit=self._stock.limits.of_layer(blob.size))
            while chunk := stream.read(CHUNK):
                upload.write(chunk)
        upload.seal(sync=False)


def _results(steps: tuple[CachedStep, ...]) -> Iterator[Descriptor]:
    """The layers of results, each once. Raises Invalid when they contradict each other."""
    sizes: dict[str, int] = {}
    for row in steps:
        if row.blob and sizes.setdefault(row.blob, row.blob_size) != row.blob_size:
            raise damaged("a layer has two sizes")
    for blob, size in sizes.items():
        yield Descriptor(media_type=GZIP, digest=Digest.parse(blob), size=size)


def _wanted(contents: Contents, found: Manifest) -> tuple[list[Descriptor], list[Descriptor]]:
    """The layers of the results that the list names, and the archives of mounts. Raises Invalid
    when the artifact has them not, or otherwise than the list says."""
    there = {(layer.digest, layer.size) for layer in found.layers if layer.media_type == GZIP}
    results = list(_results(contents.steps))
    if any((blob.digest, blob.size) not in there for blob in results):
        raise damaged("a layer is missing, or of another size")
    mounts = [layer for layer in found.layers if layer.media_type == MOUNT]
    if len(mounts) != len(contents.mounts):
        raise damaged("a cache mount is missing")
    return results, mounts


def _content(upload: Upload) -> Iterator[bytes]:
    with upload.path.open("rb", buffering=0) as file:
        while data := file.read(CHUNK):
            yield data
