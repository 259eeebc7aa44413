"""``wirt push``: what a name means, with all that it leads to, to the registry in the name.

A blob that is there costs one question; one that another repository of that registry has is mounted
from there; the others go up at the same time. Documents follow their parts, the tag comes last, so
whoever pulls meanwhile sees the old image or the new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from wirt.aio import Team
from wirt.errors import Forbidden, Invalid, NotFound, primary
from wirt.host.bars import Bar
from wirt.host.events import Bus
from wirt.host.images import Images
from wirt.host.layers import Tell
from wirt.host.pipe import Pipes
from wirt.host.registries import Registries
from wirt.image import manifest
from wirt.image.manifest import Descriptor, Index
from wirt.image.remote.auth import ANONYMOUS, Credentials
from wirt.image.remote.repository import Repository, fallback_tag
from wirt.image.remote.upload import Uploading
from wirt.image.store import BlobStore, Lease
from wirt.model.image import Digest, Image, Reference
from wirt.privileged.faults import fault
from wirt.state.images import ImageTable
from wirt.state.manifests import ManifestRow, ManifestTable, Part, Role

AT_ONCE = 4
"""Blobs of one push at the same time."""
_BLOCK = 1024 * 1024
_FOREIGN = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)
MAX_DOCUMENTS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class PushWish:
    """What to push. ``all_tags``: every tag of the repository that is here. ``referrers``: also
    what speaks about the image. ``credentials``: for this one registry."""

    reference: str
    all_tags: bool = False
    referrers: bool = True
    credentials: Credentials = field(default=ANONYMOUS, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Freight:
    """What goes: ``documents`` after what they name, the last one is what the name means.

    ``absent``: manifests that an index names and this store has not.
    """

    documents: tuple[ManifestRow, ...]
    blobs: tuple[Part, ...]
    absent: tuple[str, ...]


class Push:
    """The ``push`` verb."""

    def __init__(
        self,
        *,
        registries: Registries,
        images: Images,
        pipes: Pipes,
        store: BlobStore,
        table: ImageTable,
        manifests: ManifestTable,
        bus: Bus,
    ) -> None:
        self._registries = registries
        self._images = images
        self._pipes = pipes
        self._store = store
        self._table = table
        self._manifests = manifests
        self._bus = bus

    async def push(self, wish: PushWish, tell: Tell) -> None:
        """Push one name, or all of a repository. Raises WirtError."""
        asked = Reference.parse(wish.reference, default_tag="" if wish.all_tags else "latest")
        if asked.digest or (wish.all_tags and asked.tag):
            raise Invalid(
                f"cannot push {wish.reference[:200]!r}",
                hint="write NAME:TAG, or --all-tags NAME",
            )
        repository = self._registries.repository(asked, wish.credentials)
        for name in await self._names(asked) if wish.all_tags else [asked]:
            await self._one(name, wish, repository, tell)

    async def _names(self, asked: Reference) -> list[Reference]:
        prefix = f"{asked}:"
        images = await self._table.all()
        found = sorted(n for i in images for n in i.references if n.startswith(prefix))
        if not found:
            raise NotFound(f"no image here is called {asked.familiar}", code="image.not-found")
        return [Reference.parse(name) for name in found]

    async def _one(
        self, name: Reference, wish: PushWish, repository: Repository, tell: Tell
    ) -> None:
        image = await self._images.find(str(name))
        await tell({"pushing": name.familiar_name, "reference": name.tag})
        target = image.targets.get(str(name), image.manifest)
        own = self._registries.own
        if own is not None and await own.is_at(repository.door, f"a push of {name.familiar}"):
            await own.take(name.path, target, name.tag, referrers=wish.referrers)
            await tell({"status": "this host's own registry: nothing is copied"})
            await self._finish(name, image, target, tell)
            return
        with self._store.lease() as lease:
            freight = await self._choose(name, image, repository, tell)
            await self.send(freight, repository, lease, tell, tag=name.tag)
            if wish.referrers:
                await self._referrers(freight, repository, lease, tell)
        await self._finish(name, image, freight.documents[-1].digest, tell)

    async def _finish(self, name: Reference, image: Image, digest: str, tell: Tell) -> None:
        size = self._store.size(Digest.parse(digest))
        self._bus.publish("image", "push", image.id, name=name.familiar)
        await tell({"pushed": name.familiar, "digest": digest, "size": size})

    async def _choose(
        self, name: Reference, image: Image, repository: Repository, tell: Tell
    ) -> Freight:
        """What the name means; this host's image alone when the index leads to what is neither
        here nor there."""
        freight = await self._load(image.targets.get(str(name), image.manifest))
        for digest in freight.absent:
            if await repository.head(digest, pushing=True) is None:
                place = f"{image.os}/{image.architecture}"
                await tell(
                    {"status": f"only {place} is pushed: the other platforms are not here "
                     "(pull with --all-platforms)"}
                )  # fmt: skip
                return await self._load(image.manifest)
        return freight

    async def _load(self, digest: str) -> Freight:
        documents: dict[str, ManifestRow] = {}
        blobs: dict[str, Part] = {}
        absent: list[str] = []

        async def walk(wanted: str) -> None:
            if wanted in documents:
                return
            row = await self._manifests.get(wanted)
            if row is None or len(documents) > MAX_DOCUMENTS:
                absent.append(wanted)
                return
            for part in row.parts:
                if part.role is Role.MANIFEST:
                    await walk(part.digest)
                else:
                    blobs[part.digest] = part
            documents[wanted] = row

        await walk(digest)
        if digest not in documents:
            raise NotFound(f"the manifest {digest} is not there", code="blob.missing")
        return Freight(
            documents=tuple(documents.values()), blobs=tuple(blobs.values()), absent=tuple(absent)
        )

    async def send(
        self, freight: Freight, repository: Repository, lease: Lease, tell: Tell, *, tag: str = ""
    ) -> None:
        """Have all of it there, under ``tag`` in the end. Its bytes are in the store; ``lease``
        holds them from now on. Raises WirtError."""
        for digest in (*(d.digest for d in freight.documents), *(b.digest for b in freight.blobs)):
            lease.hold(Digest.parse(digest))
        slots = asyncio.Semaphore(AT_ONCE)
        try:
            async with Team() as team:
                blobs = [
                    team.start(self._blob(part, repository, tell, slots)) for part in freight.blobs
                ]
        except BaseExceptionGroup as group:
            raise primary(group) from group
        fault("push.blobs")
        if tag and all(blob.result() for blob in blobs):
            there = await repository.head(tag, pushing=True)
            if there is not None and str(there) == freight.documents[-1].digest:
                return  # the tag means this already
        for row in freight.documents:
            top = row is freight.documents[-1]
            await self._document(row, repository, tag if top and tag else row.digest)

    async def _document(self, row: ManifestRow, repository: Repository, reference: str) -> None:
        data = await self._pipes.call(lambda: self._store.document(Digest.parse(row.digest)))
        listed = await repository.put_manifest(reference, data, row.media_type)
        if row.subject and not listed:
            await self._list_by_tag(row, repository)

    async def _blob(
        self, part: Part, repository: Repository, tell: Tell, slots: asyncio.Semaphore
    ) -> bool:
        """Have a blob there; whether it was there before."""
        blob = Descriptor(
            media_type=part.media_type, digest=Digest.parse(part.digest), size=part.size
        )
        bar = Bar(blob, tell)
        async with slots:
            if part.media_type.startswith(_FOREIGN):
                await bar.state("skipped")
            elif await repository.has_blob(blob.digest):
                await bar.state("there")
                return True
            else:
                self._store.size(blob.digest)  # raises NotFound
                await self._give(blob, repository, bar)
        return False

    async def _give(self, blob: Descriptor, repository: Repository, bar: Bar) -> None:
        source = await self._elsewhere(str(blob.digest), repository)
        try:
            place = await repository.begin_upload(blob.digest, source)
        except (Forbidden, NotFound):
            if not source:
                raise
            place = await repository.begin_upload(blob.digest)
        if place is None:
            await bar.state("mounted", source=source)
            return
        await bar.state("uploading")
        await Uploading(repository, blob, lambda start: self._read(blob, bar, start)).run(place)
        await bar.state("uploaded")

    async def _elsewhere(self, blob: str, repository: Repository) -> str:
        """Another repository of that registry that should have the blob, by the names of our own
        images; empty when we know none."""
        domain = repository.door.endpoint.domain
        for name in await self._table.names_with(blob):
            found = Reference.parse(name)
            if found.domain == domain and found.path != repository.path:
                return found.path
        return ""

    async def _read(self, blob: Descriptor, bar: Bar, start: int) -> AsyncGenerator[bytes, None]:
        with await self._pipes.call(lambda: self._store.open(blob.digest)) as file:
            file.seek(start)
            done = start
            while piece := await self._pipes.call(lambda: file.read(_BLOCK)):
                yield piece
                done += len(piece)
                await bar.at("uploading", done)

    # --- what speaks about an image ---------------------------------------------------------

    async def _referrers(
        self, freight: Freight, repository: Repository, lease: Lease, tell: Tell
    ) -> None:
        waiting = [row.digest for row in freight.documents]
        done = set(waiting)
        while waiting:
            for row in await self._manifests.of_subject(waiting.pop(0)):
                if row.digest not in done:
                    done.add(row.digest)
                    waiting.append(row.digest)
                    await self.send(await self._load(row.digest), repository, lease, tell)

    async def _list_by_tag(self, row: ManifestRow, repository: Repository) -> None:
        """Keep the index that stands in for a list of referrers (distribution specification,
        "Backwards Compatibility")."""
        subject = Digest.parse(row.subject)
        index = await repository.referrers_tag(subject)
        entries = index.manifests if index is not None else ()
        if any(str(entry.digest) == row.digest for entry in entries):
            return
        entry = Descriptor(
            media_type=row.media_type,
            digest=Digest.parse(row.digest),
            size=row.size,
            annotations=row.annotations,
            artifact_type=row.artifact_type,
        )
        data = manifest.encode_index(Index(manifests=(*entries, entry)))
        await repository.put_manifest(fallback_tag(subject), data, manifest.OCI_INDEX)
