"""Uploads: blobs on their way in, in one request or many.

An upload belongs to the user and repository it was begun for. Its bytes are on the disk and its
hash is in memory, so it goes on from chunk to chunk; with the daemon it ends, and the next start
empties the folder. What nobody continues is dropped after a while.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial

from wirt.errors import Invalid, WirtError
from wirt.host.pipe import Pipes
from wirt.host.registry.refusals import (
    bad_digest,
    bad_size,
    out_of_order,
    too_many,
    unknown_upload,
)
from wirt.image.store import BlobStore, Upload
from wirt.model.image import Digest
from wirt.privileged.faults import fault
from wirt.state.repositories import RepositoryTable

BATCH = 1024 * 1024
"""Bytes that are collected before a thread hashes and writes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """``everyones`` and ``users``: open uploads in all and of one user. ``idle``: seconds until an
    upload that nobody continues is dropped. ``size``: bytes of a blob."""

    everyones: int = 1000
    users: int = 200
    idle: float = 900.0
    size: int = 1024**4


@dataclass(slots=True, kw_only=True, eq=False)
class Session:
    """One open upload. ``busy``: a request is writing right now."""

    id: str
    repository: str
    user: str
    upload: Upload
    touched: float
    busy: bool = field(default=False)

    @property
    def offset(self) -> int:
        """Bytes that are there."""
        return self.upload.size


class Uploads:
    """The open uploads of all repositories."""

    def __init__(
        self,
        *,
        store: BlobStore,
        pipes: Pipes,
        table: RepositoryTable,
        limits: UploadLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._pipes = pipes
        self._table = table
        self._limits = limits or UploadLimits()
        self._clock = clock
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def begin(self, repository: str, user: str, algorithm: str = "sha256") -> Session:
        """Open an upload. Raises Exhausted when there are too many already."""
        await self.expire()
        if len(self._open) >= self._limits.everyones:
            raise too_many("open uploads")
        if sum(s.user == user for s in self._open.values()) >= self._limits.users:
            raise too_many("open uploads of one user")
        further = () if algorithm == "sha256" else (algorithm,)
        session = Session(
            id=secrets.token_hex(16),
            repository=repository,
            user=user,
            upload=self._store.new_upload(algorithms=further, limit=self._limits.size),
            touched=self._clock(),
        )
        self._open[session.id] = session
        return session

    def find(self, identity: str, repository: str, user: str) -> Session:
        """An open upload of this user for this repository. Raises NotFound for any other."""
        session = self._open.get(identity)
        if session is None or (session.repository, session.user) != (repository, user):
            raise unknown_upload()
        return session

    async def append(
        self, session: Session, body: AsyncIterator[bytes], *, at: int | None, length: int | None
    ) -> None:
        """Write what comes. ``at``: where the chunk says it begins; ``length``: its bytes.

        What came before the body broke off stays. Raises Conflict for a chunk out of order or
        while another one is being written, Invalid for one that is longer or shorter.
        """
        if session.busy or (at is not None and at != session.offset):
            raise out_of_order(session.offset)
        session.busy = True
        begun = session.offset
        try:
            await self._write(session, body, most=length)
        finally:
            session.busy = False
            session.touched = self._clock()
        if length is not None and session.offset - begun != length:
            raise bad_size(f"{session.offset - begun} bytes came instead of {length}")

    async def _write(
        self, session: Session, body: AsyncIterator[bytes], *, most: int | None
    ) -> None:
        batch: list[bytes] = []
        size = total = 0
        try:
            async for chunk in body:
                total += len(chunk)
                if most is not None and total > most:
                    raise bad_size(f"more than {most} bytes came")
                batch.append(chunk)
                size += len(chunk)
                if size >= BATCH:
                    done, batch, size = batch, [], 0
                    await self._flush(session, done)
        finally:
            if batch:
                await self._flush(session, batch)

    async def _flush(self, session: Session, chunks: list[bytes]) -> None:
        """What could not be written whole (a full disk, a limit) leaves nothing to go on from."""
        try:
            await self._pipes.call(partial(_put, session.upload, chunks))
        except (WirtError, OSError):
            await self.drop(session)
            raise

    async def finish(self, session: Session, digest: Digest) -> None:
        """Make it a blob of its repository, under this digest, which its content must have.

        Whatever happens, the upload is over. Raises Invalid, Conflict while it is written.
        """
        if session.busy:
            raise out_of_order(session.offset)
        session.busy = True
        self._open.pop(session.id, None)
        upload = session.upload
        try:
            with self._store.lease() as lease:
                await self._pipes.call(lambda: self._store.commit(upload, lease, digest=digest))
                fault("registry.blob-stored")
                size = upload.size
                await self._table.add_blobs(
                    session.repository, [(str(digest), size)], now=time.time_ns()
                )
        except Invalid as error:
            raise bad_digest(error.message) from error
        finally:
            await self._pipes.call(upload.discard)

    async def cancel(self, session: Session) -> None:
        """Drop an upload. Raises Conflict while it is written."""
        if session.busy:
            raise out_of_order(session.offset)
        await self.drop(session)

    async def drop(self, session: Session) -> None:
        """Drop an upload that no request writes; nothing happens to one that is over."""
        if self._open.pop(session.id, None) is not None:
            session.busy = True
            await self._pipes.call(session.upload.discard)

    async def close(self) -> None:
        """Drop all: uploads end with the daemon."""
        for session in tuple(self._open.values()):
            await self.drop(session)

    async def expire(self) -> None:
        """Drop what nobody continues."""
        oldest = self._clock() - self._limits.idle
        for session in [s for s in self._open.values() if s.touched < oldest and not s.busy]:
            await self.cancel(session)


def _put(upload: Upload, chunks: list[bytes]) -> None:
    for chunk in chunks:
        upload.write(chunk)
