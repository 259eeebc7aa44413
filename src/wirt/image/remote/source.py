"""Where a repository can be pulled from: its mirrors in order, then the registry itself.

The server that answered first stays the one that is asked, and what it said a tag means is pinned:
everything after goes by digest, so a tag that moves meanwhile changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

from wirt.errors import NotFound, WirtError
from wirt.image.manifest import Descriptor
from wirt.image.remote import download
from wirt.image.remote.auth import ANONYMOUS
from wirt.image.remote.door import Door
from wirt.image.remote.repository import Fetched, Repository
from wirt.model.image import Digest

log = logging.getLogger("wirt.registry")

T = TypeVar("T")

AT_ONCE = 4
"""Blobs that one pull gets at the same time."""
MAX_URLS = 5
"""Addresses of a foreign layer that are tried."""


class Source:
    """One repository and its mirrors; ``repositories``: at least one, the registry itself last.

    ``foreign``: what no registry has may be got from the addresses that its descriptor names.
    ``slots``: bounds how many blobs come from here at once; a slow registry holds up nobody else.
    """

    def __init__(self, repositories: Sequence[Repository], *, foreign: bool = False) -> None:
        self._repositories = list(repositories)
        self._foreign = foreign
        self.slots = asyncio.Semaphore(AT_ONCE)

    @property
    def origin(self) -> Repository:
        """The repository at the registry itself."""
        return self._repositories[-1]

    async def manifest(self, reference: str) -> Fetched:
        """A document by tag or digest."""
        return await self._first(lambda repository: repository.manifest(reference))

    async def head(self, reference: str) -> Digest | None:
        """What a tag means there now, None when it is not there or not said."""
        return await self._first(lambda repository: repository.head(reference))

    async def tags(self) -> tuple[str, ...]:
        """All tags."""
        return await self._first(lambda repository: repository.tags())

    async def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """What speaks about a document."""
        return await self._first(lambda repository: repository.referrers(subject))

    async def blob(self, wanted: Descriptor) -> AsyncGenerator[bytes, None]:
        """A blob. Another server is asked only as long as nothing has come."""
        streams = [download.blob(repository, wanted) for repository in self._repositories]
        if self._foreign and wanted.urls:
            own = self.origin.door
            door = Door(own.endpoint, own.transport, ANONYMOUS)
            streams += [download.foreign(door, wanted, url) for url in wanted.urls[:MAX_URLS]]
        for stream in streams:
            begun = False
            try:
                async with contextlib.aclosing(stream):
                    async for piece in stream:
                        begun = True
                        yield piece
            except WirtError as error:
                if begun or stream is streams[-1]:
                    raise
                log.info("%s: %s; asking elsewhere", wanted.digest, error)
            else:
                return

    async def _first(self, ask: Callable[[Repository], Awaitable[T]]) -> T:
        for repository in tuple(self._repositories):
            try:
                found = await ask(repository)
            except WirtError as error:
                if repository is self.origin:
                    raise
                log.info("mirror %s: %s", repository.host, error)
                if not isinstance(error, NotFound):
                    self._repositories.remove(repository)  # it is ill: leave it alone
                continue
            if found is not None or repository is self.origin:
                return found
        raise AssertionError("the registry itself is always asked")
