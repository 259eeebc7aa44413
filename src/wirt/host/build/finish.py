"""The end of a build: configuration and manifest, stored and named, or only named again."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from wirt.host.build.holding import Holding
from wirt.host.build.progress import Progress
from wirt.host.build.wish import BuildWish
from wirt.host.events import Bus
from wirt.host.load import LoadImages
from wirt.host.pipe import Pipes
from wirt.image import config as configuration
from wirt.image.assemble import Stored, put_manifest
from wirt.image.build.outcome import Root, encode_image
from wirt.image.build.settings import Settings
from wirt.image.manifest import OCI_CONFIG, Descriptor, Manifest, encode_manifest
from wirt.image.platform import Platform
from wirt.image.store import BlobStore
from wirt.model.image import Digest, Image, Reference
from wirt.privileged.faults import fault
from wirt.state.images import ImageTable, LayerRow, Orphans


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was built. ``id``: of the image, or empty where none was to be made. ``new``: the image
    was not there before. ``keys`` and ``mounts``: the results of steps that it is made of, and ids
    of cache mounts. ``target_keys``: of ``keys`` those of the target's own steps. ``output``: the
    bytes that were asked for."""

    id: str = ""
    manifest: str = ""
    new: bool = False
    keys: tuple[str, ...] = ()
    target_keys: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    output: AsyncIterator[bytes] | None = None


class Finish:
    """Turns a root and settings into an image."""

    def __init__(
        self, *, pipes: Pipes, store: BlobStore, table: ImageTable, load: LoadImages, bus: Bus
    ) -> None:
        self._pipes = pipes
        self._store = store
        self._table = table
        self._load = load
        self._bus = bus

    async def run(
        self,
        wish: BuildWish,
        settings: Settings,
        root: Root,
        platform: Platform,
        held: Holding,
        progress: Progress,
    ) -> Result:
        """Store the image under its names. What is there already costs a few look-ups."""
        vertex = progress.vertex("exporting to image")
        data = encode_image(root, settings, platform, wish.labels)
        config = Descriptor(media_type=OCI_CONFIG, digest=_digest(data), size=len(data))
        content = Manifest(config=config, layers=tuple(la.descriptor for la in root.layers))
        names = tuple(str(Reference.parse(name)) for name in dict.fromkeys(wish.tags))
        image = await self._known(content, names, held)
        new = image is None
        if image is None:
            await vertex.begin()
            stored = await self._pipes.call(lambda: self._store_all(data, content, names, held))
            fault("build.stored")
            rows = tuple(
                LayerRow(chain_id=la.chain_id, blob=str(la.descriptor.digest), size=la.size)
                for la in root.layers
            )
            image = await self._load.register(stored, held.intake, _quiet, known=rows)
            fault("build.named")
            await vertex.done()
        else:
            await vertex.cached()
        shown = tuple(Reference.parse(name).familiar for name in names)
        for name in shown or (image.id,):
            self._bus.publish("image", "build", image.id, name=name)
        return Result(id=image.id, manifest=image.manifest, new=new, names=shown)

    async def _known(
        self, content: Manifest, names: tuple[str, ...], held: Holding
    ) -> Image | None:
        """The same image, if it is there; it gets the names that it lacks."""
        image_id = str(content.config.digest)
        held.use((image_id,))
        if not await self._table.starting_with(image_id):
            return None
        image = await self._table.get(image_id)
        manifest = str(_digest(encode_manifest(content)))
        if image is None or image.manifest != manifest:
            return None
        for name in names:
            if image.targets.get(name) != manifest:
                before = await self._table.tag(name, image_id, manifest)
                if before is not None and before.target != manifest:
                    await held.layers.drop(Orphans(documents=(before.target,)))
        return image

    def _store_all(
        self, data: bytes, content: Manifest, names: tuple[str, ...], held: Holding
    ) -> Stored:
        lease = held.lease
        for layer in content.layers:
            lease.hold(layer.digest)
        config = self._store.put(data, lease)
        manifest = put_manifest(content, self._store, lease)
        return Stored(
            id=config,
            manifest=manifest.digest,
            configuration=configuration.parse(data),
            layers=tuple(layer.digest for layer in content.layers),
            target=manifest.digest,
            documents=(manifest,),
            references=names,
        )


def _digest(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


async def _quiet(line: Mapping[str, object]) -> None:
    del line
