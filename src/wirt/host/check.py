"""``wirt store check``: whether rows, blobs and unpacked layers agree, and putting right what does
not.

Blobs are the truth: a damaged one cannot be repaired, only had again, so what needs it is told.
Unpacked layers, disks and rows about documents are made of blobs and can be made again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from wirt.errors import Conflict, Invalid, NotFound
from wirt.host.images import Images
from wirt.host.layers import Layers
from wirt.host.lineage import lineage
from wirt.host.pipe import CHUNK
from wirt.image import catalog, manifest
from wirt.image.store import BlobStore
from wirt.model.image import Digest, Image
from wirt.privileged.client import Helper
from wirt.privileged.protocol import CompareLayer, DropLayers, ListStore, StoreList
from wirt.state.images import ImageTable
from wirt.state.manifests import ManifestTable
from wirt.state.store import StoreTable

Tell = Callable[[Mapping[str, object]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong. ``what``: ``blob``, ``document``, ``image``, ``layer``, ``disk`` or
    ``database``. ``repair``: what was done about it; "" when it is still wrong."""

    what: str
    name: str
    problem: str
    repair: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``checked``: how many blobs, layers, disks and documents were looked at. ``wrong``: how many
    findings were not repaired."""

    checked: int
    found: int
    wrong: int


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer, what is below it, and what it is made of."""

    chain_id: str
    parents: tuple[str, ...]
    diff_id: str
    blob: str


class CheckStore:
    """Looks, and repairs when told to. Guests may run meanwhile."""

    def __init__(
        self,
        *,
        helper: Helper,
        store: BlobStore,
        layers: Layers,
        images: Images,
        table: ImageTable,
        manifests: ManifestTable,
        rows: StoreTable,
    ) -> None:
        self._helper = helper
        self._store = store
        self._layers = layers
        self._images = images
        self._table = table
        self._manifests = manifests
        self._rows = rows
        self._lock = asyncio.Lock()
        self._checked = 0
        self._reach = layers.reach

    async def run(self, tell: Tell, *, repair: bool = False, deep: bool = False) -> Verdict:
        """Tell every finding. ``deep``: unpack every layer once more and compare."""
        async with self._lock:
            found = wrong = self._checked = 0
            async for finding in self._findings(tell, repair=repair, deep=deep):
                found += 1
                wrong += not finding.repair
                await tell({"finding": _shown(finding)})
            return Verdict(checked=self._checked, found=found, wrong=wrong)

    async def _findings(self, tell: Tell, *, repair: bool, deep: bool) -> AsyncIterator[Finding]:
        for part in (
            self._database(),
            self._blobs(tell, repair=repair),
            self._documents(repair=repair),
            self._layers_there(repair=repair, deep=deep),
            self._of_images(repair=repair),
        ):
            async for finding in part:
                yield finding

    async def _database(self) -> AsyncIterator[Finding]:
        for line in await self._rows.integrity():
            yield Finding(what="database", name="wirt.db", problem=line)

    # --- blobs ------------------------------------------------------------------------------

    async def _blobs(self, tell: Tell, *, repair: bool) -> AsyncIterator[Finding]:
        """Every blob's digest, and blobs that nobody wants."""
        there = await asyncio.to_thread(lambda: sorted(digest for digest, _ in self._store.all()))
        await tell({"status": f"{len(there)} blobs"})
        for digest in there:
            self._checked += 1
            with self._layers.lease() as lease:
                lease.hold(digest)  # it may be about to go
                if not await asyncio.to_thread(_damaged, self._store, digest):
                    continue
            done = ""
            if repair:
                await asyncio.to_thread(self._store.path(digest).unlink, missing_ok=True)
                done = "removed"
            yield Finding(
                what="blob", name=str(digest), problem="its content is another", repair=done
            )
        wanted = await self._reach.blobs()
        orphans = [
            digest for digest in there if str(digest) not in wanted and not self._store.held(digest)
        ]
        if repair:
            await self._layers.drop_blobs({str(digest) for digest in orphans})
        for digest in orphans:
            done = "" if self._store.path(digest).exists() else "removed"
            yield Finding(what="blob", name=str(digest), problem="nobody wants it", repair=done)
        for stranger in await asyncio.to_thread(self._store.strangers):
            if repair:
                await asyncio.to_thread(stranger.unlink)
            done = "removed" if repair else ""
            yield Finding(what="blob", name=stranger.name, problem="it is no blob", repair=done)

    # --- documents --------------------------------------------------------------------------

    async def _documents(self, *, repair: bool) -> AsyncIterator[Finding]:
        """Rows without bytes, and bytes without the row that keeps what they name."""
        known = {row.digest for row in await self._manifests.all()}
        for digest in sorted(known):
            self._checked += 1
            if self._store.path(Digest.parse(digest)).exists():
                continue
            if repair:
                await self._manifests.forget([digest])
            done = "its row was removed" if repair else ""
            yield Finding(what="document", name=digest, problem="its blob is lost", repair=done)
        for digest in sorted((await self._reach.wanted()).documents - known):
            if not self._store.path(Digest.parse(digest)).exists():
                continue  # told of the image
            if repair:
                await self._note(Digest.parse(digest))
            done = "its row was made" if repair else ""
            yield Finding(what="document", name=digest, problem="it has no row", repair=done)

    async def _note(self, digest: Digest) -> None:
        data = await asyncio.to_thread(self._store.document, digest)
        found = catalog.read(data, digest, manifest.type_of(data))
        await self._manifests.add(catalog.row(found))

    # --- layers and disks -------------------------------------------------------------------

    async def _layers_there(self, *, repair: bool, deep: bool) -> AsyncIterator[Finding]:
        """Half layers, those that nobody has, and with ``deep`` those that changed."""
        found, _ = await self._helper.call(ListStore())
        self._checked += len(found.layers) + len(found.disks)
        wanted = await self._reach.wanted()
        for name in found.broken:
            yield await self._drop_layer(name, "it is not whole", repair=repair)
        for name in sorted(found.layers.keys() - wanted.chain_ids - set(found.broken)):
            if name not in self._layers.held:
                yield await self._drop_layer(name, "nobody wants it", repair=repair)
        for name in sorted(found.disks.keys() - wanted.images):
            if repair:
                await self._helper.call(DropLayers(image_ids=(name,)))
            done = "removed" if repair else ""
            yield Finding(what="disk", name=name, problem="it has no image", repair=done)
        if deep:
            async for finding in self._deep(found, repair=repair):
                yield finding

    async def _drop_layer(self, name: str, problem: str, *, repair: bool) -> Finding:
        """What a guest uses now cannot be dropped under it; a start mends what is not used."""
        done = ""
        used = (await self._reach.wanted()).used
        if repair and name in used:
            problem += ", and a guest uses it: remove that first"
        elif repair:
            await self._layers.discard(name)
            done = "removed; it is unpacked again when it is needed"
        return Finding(what="layer", name=name, problem=problem, repair=done)

    async def _deep(self, found: StoreList, *, repair: bool) -> AsyncIterator[Finding]:
        seen: set[str] = set(found.broken)
        layers = await self._all_layers()
        for layer in layers.values():
            if layer.chain_id in seen or layer.chain_id not in found.layers:
                continue
            missing = [layers.get(name) for name in layer.parents if name not in found.layers]
            if problem := await self._compare(layer, missing):
                yield await self._drop_layer(layer.chain_id, problem, repair=repair)

    async def _all_layers(self) -> dict[str, _Layer]:
        """The layers of images and of the build cache by chain id, bases first."""
        layers: dict[str, _Layer] = {}
        for image in await self._table.all():
            rows = await self._table.layers(image.id)
            for n, (row, diff_id) in enumerate(zip(rows, image.diff_ids, strict=True)):
                layers[row.chain_id] = _Layer(row.chain_id, image.chain_ids[:n], diff_id, row.blob)
        cached = {one.chain_id: one for one in await self._rows.cached_layers()}
        below = await asyncio.to_thread(
            lineage,
            {name: one.diff_id for name, one in cached.items()},
            {name: layer.parents for name, layer in layers.items()},
        )
        for name, parents in below.items():
            one = cached[name]
            layers.setdefault(name, _Layer(name, parents, one.diff_id, one.blob))
        return layers

    async def _compare(self, layer: _Layer, missing: Sequence[_Layer | None]) -> str:
        """What is wrong with an unpacked layer. ``missing``: those below it that are not unpacked;
        they are made for it and go again in their time."""
        digest = Digest.parse(layer.blob)
        limits = self._layers.limits
        try:
            verb = CompareLayer(
                chain_id=layer.chain_id,
                parents=layer.parents,
                expected=layer.diff_id,
                max_bytes=limits.of_layer(self._store.size(digest)),
                max_entries=limits.entries,
            )
            with (
                self._layers.hold((layer.chain_id, *layer.parents)),
                self._store.open(digest) as file,
            ):
                for one in missing:
                    if one is not None:
                        await self._layers.apply(
                            one.chain_id,
                            one.parents,
                            expected=one.diff_id,
                            blob=Digest.parse(one.blob),
                        )
                compared, _ = await self._helper.call(verb, [file.fileno()])
        except (NotFound, Invalid):
            return ""  # a lost or damaged blob is told elsewhere
        return compared.difference

    # --- images -----------------------------------------------------------------------------

    async def _of_images(self, *, repair: bool) -> AsyncIterator[Finding]:
        """Images and names of which something is lost."""
        for image in await self._table.all():
            lost = await self._lost(image)
            if not lost:
                continue
            name = ", ".join(image.references) or image.id
            done = await self._give_up(image) if repair else ""
            problem = f"lost: {', '.join(sorted(lost))}"
            if repair and not done:
                problem += "; a guest was made from it: load or pull it again"
            yield Finding(what="image", name=name, problem=problem, repair=done)

    async def _lost(self, image: Image) -> set[str]:
        """Blobs without which the image cannot be what its names say."""
        rows = await self._table.layers(image.id)
        needed = {image.id, image.manifest, *image.targets.values(), *(row.blob for row in rows)}
        return {text for text in needed if not self._store.path(Digest.parse(text)).exists()}

    async def _give_up(self, image: Image) -> str:
        try:
            for name in image.references or (image.id,):
                await self._images.remove(name)
        except (Conflict, NotFound):
            return ""
        return "removed, for it cannot be had here"


def _shown(finding: Finding) -> dict[str, str]:
    return {
        "what": finding.what,
        "name": finding.name,
        "problem": finding.problem,
        "repair": finding.repair,
    }


def _damaged(store: BlobStore, digest: Digest) -> bool:
    """Whether a blob is something else than its name says; one that is gone is not."""
    hasher = hashlib.new(digest.algorithm)
    try:
        with store.open(digest) as file:
            while data := file.read(CHUNK):
                hasher.update(data)
    except NotFound:
        return False
    except OSError:
        return True  # the disk cannot read it
    return hasher.hexdigest() != digest.encoded
