"""Blobs of repositories: reading, borrowing from other repositories, letting go."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import BinaryIO

from wirt.host.pipe import Pipes
from wirt.host.registry.refusals import still_used, unknown_blob
from wirt.image.store import BlobStore
from wirt.model.image import Digest
from wirt.state.repositories import RepositoryTable

MOST_SOURCES = 100
"""Repositories that are considered when a mount names none."""


class Blobs:
    """What a repository may serve. A blob it never got is unknown, though the store has it.
    ``freed``: told when one was let go."""

    def __init__(
        self,
        *,
        store: BlobStore,
        pipes: Pipes,
        table: RepositoryTable,
        freed: Callable[[], None],
    ) -> None:
        self._freed = freed
        self._store = store
        self._pipes = pipes
        self._table = table

    async def size(self, repository: str, digest: Digest) -> int:
        """Bytes of a blob, which stays for a while: who asks is about to name it. Raises
        NotFound."""
        found = await self._table.keep_blob(repository, str(digest), now=time.time_ns())
        if found is None:
            raise unknown_blob(digest)
        return found

    async def open(self, repository: str, digest: Digest) -> tuple[BinaryIO, int]:
        """A blob for reading, which the caller closes, and its bytes. Raises NotFound."""
        size = await self._table.blob(repository, str(digest))
        if size is None:
            raise unknown_blob(digest)
        return self._store.open(digest), size

    async def mount(
        self,
        repository: str,
        digest: Digest,
        *,
        source: str,
        may_read: Callable[[str], bool],
    ) -> bool:
        """Give a repository a blob of another one; whether it has it now.

        ``source``: "" for any. Only repositories that the caller may read count (CVE-2024-39897).
        """
        sources = (
            [source] if source else await self._table.with_blob(str(digest), most=MOST_SOURCES)
        )
        with self._store.lease() as lease:
            for name in sources:
                if not may_read(name):
                    continue
                lease.hold(digest)
                size = await self._table.blob(name, str(digest))
                if size is not None and await self._pipes.call(self._store.path(digest).exists):
                    await self._table.add_blobs(
                        repository, [(str(digest), size)], now=time.time_ns()
                    )
                    return True
        return False

    async def remove(self, repository: str, digest: Digest) -> None:
        """Let a blob go. Raises NotFound, Conflict while a manifest names it."""
        user = await self._table.remove_blob(repository, str(digest))
        if user is None:
            raise unknown_blob(digest)
        if user:
            raise still_used(str(digest), user)
        self._freed()
