"""Making an image of one layer from the tar archive of a root file system."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass

from wirt.errors import Invalid
from wirt.host.events import Bus
from wirt.host.layers import Layers, Tell
from wirt.host.load import LoadImages
from wirt.host.pipe import CHUNK, FdReader, Pipes
from wirt.image import config as configuration
from wirt.image import platform
from wirt.image.assemble import Stored, layer_type, put_manifest
from wirt.image.changes import apply_changes
from wirt.image.config import Configuration, Step
from wirt.image.manifest import OCI_CONFIG, Descriptor, Manifest
from wirt.image.platform import Platform
from wirt.image.store import BlobStore, Lease, Upload
from wirt.model.image import Digest, Image, ImageConfig, Reference
from wirt.tar.inflate import Inflater


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportWish:
    """What the image shall be called and hold. ``changes``: Dockerfile lines (``CMD ...``)."""

    reference: str = ""
    message: str = ""
    changes: Sequence[str] = ()
    platform: str = ""


class ImportImage:
    """``wirt import``."""

    def __init__(
        self, pipes: Pipes, store: BlobStore, layers: Layers, load: LoadImages, bus: Bus
    ) -> None:
        self._pipes = pipes
        self._store = store
        self._layers = layers
        self._load = load
        self._bus = bus

    async def run(self, body: AsyncIterable[bytes], wish: ImportWish, tell: Tell) -> Image:
        """Store the archive as the image's only layer. Raises Invalid."""
        names = (str(Reference.parse(wish.reference)),) if wish.reference else ()
        place = platform.parse(wish.platform) if wish.platform else platform.host()
        config = apply_changes(ImageConfig(), wish.changes)
        limit = self._layers.limits.archive
        upload = await self._pipes.make(self._store.new_upload, Upload.discard)
        try:
            diff_id = await self._pipes.feed(body, lambda source: _receive(source, upload, limit))
            await tell({"status": "archive read"})
            made = _configuration(config, diff_id, wish.message, place)
            async with self._layers.intake() as intake:
                stored = await self._pipes.call(
                    lambda: self._keep(upload, made, names, intake.lease)
                )
                image = await self._load.register(stored, intake, tell)
        finally:
            await self._pipes.call(upload.discard)
        self._bus.publish("image", "import", image.id, name=wish.reference or image.id)
        return image

    def _keep(
        self, upload: Upload, made: Configuration, names: tuple[str, ...], lease: Lease
    ) -> Stored:
        data = configuration.encode(made)
        layer = Descriptor(media_type=layer_type(upload), digest=upload.digest, size=upload.size)
        self._store.commit(upload, lease)
        config = self._store.put(data, lease)
        content = Manifest(
            config=Descriptor(media_type=OCI_CONFIG, digest=config, size=len(data)),
            layers=(layer,),
        )
        manifest = put_manifest(content, self._store, lease)
        return Stored(
            id=config,
            manifest=manifest.digest,
            configuration=made,
            layers=(layer.digest,),
            target=manifest.digest,
            documents=(manifest,),
            references=names,
        )


def _receive(source: FdReader, upload: Upload, limit: int) -> Digest:
    """Write the archive and compute its diff id. A compression that layers may not have is undone
    on the way."""
    head = source.read(16)
    while len(head) < 16 and (more := source.read(16 - len(head))):
        head += more
    if not head:
        raise Invalid(
            "the archive is empty",
            hint="give the tar archive of a root file system",
            code="archive.malformed",
        )
    raw = _Rest(head, source)
    if head.startswith((b"\xfd7zXZ\0", b"BZh")):
        plain = Inflater(raw, limit=limit)
        while data := plain.read(CHUNK):
            upload.write(data)
        upload.seal()
        return upload.digest
    hasher = hashlib.sha256()
    raw.copy_to = upload
    Inflater(raw, limit=limit, on_output=hasher.update).drain()
    upload.seal()
    return Digest("sha256", hasher.hexdigest())


class _Rest:
    """A stream of which the first bytes were looked at; copies all that is read, when asked."""

    def __init__(self, head: bytes, source: FdReader) -> None:
        self._head = head
        self._source = source
        self.copy_to: Upload | None = None

    def read(self, size: int, /) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._source.read(size)
        if self.copy_to is not None and data:
            self.copy_to.write(data)
        return data


def _configuration(
    config: ImageConfig, diff_id: Digest, message: str, place: Platform
) -> Configuration:
    now = time.time_ns()
    return Configuration(
        platform=place,
        created_at=now,
        diff_ids=(diff_id,),
        history=(Step(created_at=now, comment=message or "imported"),),
        config=config,
    )
