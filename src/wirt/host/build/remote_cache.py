"""The build cache at a registry: an artifact whose layers are those of the results.

Its first layer is the list of what it holds; the layers of results are ordinary ones, so that a
registry has them once, together with those of the image; cache mounts are archives of their own.
Nothing of it is believed: a layer must have the digest and size that the list says. What no build
can use is not fetched.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from wirt.errors import Invalid
from wirt.host.bars import Bar
from wirt.host.build.stock import (
    EDITION,
    GZIP,
    MAX_CONTENTS,
    Contents,
    Stock,
    damaged,
    read_contents,
)
from wirt.host.download import Downloads
from wirt.host.layers import Layers, Tell
from wirt.host.pipe import CHUNK, Pipes
from wirt.host.push import Freight, Push
from wirt.host.registries import Registries
from wirt.image import catalog, manifest
from wirt.image.manifest import MAX_PARTS, OCI_MANIFEST, Descriptor, Manifest
from wirt.image.remote.auth import ANONYMOUS, Credentials, Late
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
MAX_LIST = 16 * 1024**2
"""Bytes of the list as it comes, compressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A cache whose list was read. ``steps``: results by key; ``layers``: by blob, ``mounts``: by
    id, where their bytes are."""

    name: str
    source: Source
    steps: Mapping[str, CachedStep]
    layers: Mapping[str, Descriptor]
    mounts: Mapping[str, Descriptor]


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
        if len(layers) > MAX_PARTS or layers[0].size > MAX_LIST:
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

    async def open(self, reference: str, credentials: Credentials | Late) -> Listed:
        """Read what the cache under a name holds.

        Raises NotFound when there is none, Invalid for what is none or is damaged.
        """
        name = Reference.parse(reference)
        source = self._registries.source(name, credentials)
        fetched = await source.manifest(name.digest or name.tag)
        found = manifest.parse(fetched.data, fetched.media_type)
        if not isinstance(found, Manifest) or found.artifact_type != ARTIFACT:
            raise Invalid(
                f"{name.familiar} is no build cache",
                hint="it is pushed by --cache-to type=registry; images have none in them",
                code="build.cache-none",
            )
        contents = await self._list(found, source)
        layers, mounts = _wanted(contents, found)
        return Listed(
            name=name.familiar,
            source=source,
            steps={row.key: row for row in contents.steps},
            layers={str(blob.digest): blob for blob in layers},
            mounts=dict(zip(contents.mounts, mounts, strict=True)),
        )

    async def _list(self, found: Manifest, source: Source) -> Contents:
        if not found.layers or found.layers[0].media_type != LIST:
            raise damaged("it has no list of what it holds")
        listed = found.layers[0]
        if listed.size > MAX_LIST:
            raise damaged("its list is too large")
        data = b"".join([piece async for piece in source.blob(listed)])
        if hashlib.new(listed.digest.algorithm, data).hexdigest() != listed.digest.encoded:
            raise damaged("its list is not what its digest says")
        return await self._pipes.call(lambda: _read(data))

    async def fetch(self, listed: Listed, key: str, lease: Lease) -> bool:
        """Have a result here, its layer held by ``lease``; False when the cache has none of this
        key. Raises Upstream when the registry gives something else."""
        row = listed.steps.get(key)
        if row is None:
            return False
        if row.blob:
            await self._get(listed, listed.layers[row.blob], lease)
        await self._stock.add(row)
        return True

    async def mount(self, listed: Listed, name: str) -> bool:
        """Have a cache mount here, unless one of this name is; False when the cache has none."""
        blob = listed.mounts.get(name)
        if blob is None:
            return False
        if await self._stock.has_mount(name):
            return True
        async with self._layers.intake() as intake:
            await self._get(listed, blob, intake.lease)
            upload = await self._pipes.make(self._store.new_upload, Upload.discard)
            try:
                await self._pipes.call(lambda: self._inflate(blob, upload))
                await self._stock.restore(name, upload)
            finally:
                upload.discard()
            await self._layers.tidy(intake)
        return True

    async def _get(self, listed: Listed, blob: Descriptor, lease: Lease) -> None:
        async def nothing(_line: object) -> None: ...

        await self._downloads.blob(listed.source, blob, lease, Bar(blob, nothing))

    def _inflate(self, blob: Descriptor, upload: Upload) -> None:
        with self._store.open(blob.digest) as file:
            stream = Inflater(file, limit=self._stock.limits.of_layer(blob.size))
            while chunk := stream.read(CHUNK):
                upload.write(chunk)
        upload.seal(sync=False)


def _read(data: bytes) -> Contents:
    stream = Inflater(io.BytesIO(data), limit=MAX_CONTENTS)
    return read_contents(b"".join(iter(lambda: stream.read(CHUNK), b"")))


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
