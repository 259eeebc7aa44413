"""Blobs and documents from registries into the store, each once however many pulls want it."""

from __future__ import annotations

import contextlib

from wirt.aio import Locks
from wirt.errors import Invalid, NotFound, Upstream
from wirt.host.bars import Bar
from wirt.host.growing import Growing
from wirt.host.pipe import Pipes
from wirt.image.document import MAX_DOCUMENT
from wirt.image.manifest import Descriptor
from wirt.image.remote.repository import Fetched
from wirt.image.remote.source import Source
from wirt.image.store import BlobStore, Lease, Upload
from wirt.model.image import Digest
from wirt.privileged.faults import fault

_BLOCK = 1024 * 1024


class Downloads:
    """Takes content of registries in."""

    def __init__(self, pipes: Pipes, store: BlobStore) -> None:
        self._pipes = pipes
        self._store = store
        self._locks = Locks()

    def has(self, wanted: Descriptor) -> bool:
        """Whether the store has it, with the announced size."""
        try:
            return self._store.size(wanted.digest) == wanted.size
        except NotFound:
            return False

    async def keep(self, fetched: Fetched, lease: Lease) -> None:
        """Store a document that was fetched and verified."""

        def work() -> None:
            with self._store.upload(algorithms=_algorithms(fetched.digest)) as upload:
                upload.write(fetched.data)
                self._store.commit(upload, lease, digest=fetched.digest)

        await self._pipes.call(work)

    async def small(self, source: Source, wanted: Descriptor, lease: Lease, *, what: str) -> bytes:
        """A configuration, whole. Raises Invalid when it is too large."""
        if wanted.size > MAX_DOCUMENT:
            raise Invalid(
                f"invalid {what}: it has {wanted.size} bytes, {MAX_DOCUMENT} are allowed",
                code="image.malformed",
            )

        async def nothing(_line: object) -> None: ...

        await self.blob(source, wanted, lease, Bar(wanted, nothing))
        return await self._pipes.call(lambda: self._store.document(wanted.digest))

    async def blob(
        self,
        source: Source,
        wanted: Descriptor,
        lease: Lease,
        bar: Bar,
        growing: Growing | None = None,
    ) -> bool:
        """Have a blob in the store, held by ``lease``; False when it was there already.

        ``growing`` shows what has come so far. Raises Upstream when the registry gives another
        blob; then nothing is stored.
        """
        async with self._locks.hold(str(wanted.digest)):
            lease.hold(wanted.digest)
            if self.has(wanted):
                await bar.state("exists")
                return False
            await bar.state("waiting")
            async with source.slots:
                await self._take(source, wanted, lease, bar, growing)
        await bar.state("downloaded")
        return True

    async def _take(
        self,
        source: Source,
        wanted: Descriptor,
        lease: Lease,
        bar: Bar,
        growing: Growing | None,
    ) -> None:
        algorithms = _algorithms(wanted.digest)
        upload = await self._pipes.make(
            lambda: self._store.new_upload(algorithms=algorithms, limit=wanted.size),
            Upload.discard,
        )
        try:
            if growing is not None:
                growing.begin(upload.path)
            await self._receive(source, wanted, upload, bar, growing)
            fault("pull.received")
            await self._pipes.call(
                lambda: self._store.commit(upload, lease, digest=wanted.digest, size=wanted.size)
            )
        except Invalid as error:
            if error.code not in {"blob.digest", "blob.size"}:
                raise
            raise Upstream(
                f"{source.origin.host} gives something else as {wanted.digest}: {error.message}",
                hint="the registry or something before it is broken or lies",
                code="registry.digest",
            ) from error
        finally:
            if growing is not None:
                growing.end()
            await self._pipes.call(upload.discard)

    async def _receive(
        self,
        source: Source,
        wanted: Descriptor,
        upload: Upload,
        bar: Bar,
        growing: Growing | None,
    ) -> None:
        block = bytearray()

        async def write() -> None:
            data = bytes(block)
            block.clear()
            await self._pipes.call(lambda: upload.write(data))
            if growing is not None:
                growing.advance(upload.size)
            await bar.at("downloading", upload.size)

        async with contextlib.aclosing(source.blob(wanted)) as stream:
            async for piece in stream:
                block += piece
                if len(block) >= _BLOCK:
                    await write()
        if block:
            await write()


def _algorithms(digest: Digest) -> tuple[str, ...]:
    return () if digest.algorithm == "sha256" else (digest.algorithm,)
