"""Giving blobs: in one request; after an interruption the part that the registry lacks."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable

from yarl import URL

from wirt.errors import Conflict, Forbidden, Invalid, NotFound, WirtError
from wirt.image.manifest import Descriptor
from wirt.image.remote.door import Ask, Tries
from wirt.image.remote.repository import Repository

_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})", re.ASCII)
OCTETS = "application/octet-stream"

Source = Callable[[int], AsyncIterator[bytes]]
"""A blob's bytes from this offset on."""

_FINAL = (Forbidden, Invalid, Conflict)


class Uploading:
    """One blob on its way to one repository."""

    def __init__(self, repository: Repository, blob: Descriptor, source: Source) -> None:
        self._repository = repository
        self._blob = blob
        self._source = source

    async def run(self, place: URL) -> None:
        """Upload to ``place``, as :meth:`Repository.begin_upload` gave it. Raises WirtError."""
        tries = Tries(self._repository.door.transport.patience)
        start = 0
        while True:
            try:
                if start:
                    place = await self._part(place, start)
                    await self._finish(place)
                else:
                    await self._finish(place, whole=True)
            except _FINAL:
                raise
            except WirtError as error:
                await tries.again(error)
            else:
                return
            place, reached = await self._resume(place)
            if reached > start:
                tries.progress()
            start = reached

    async def _finish(self, place: URL, *, whole: bool = False) -> None:
        """end-6, with the whole content or with none (after parts)."""
        size = self._blob.size if whole else 0
        ask = Ask(
            method="PUT",
            where=place,
            what=f"blob {self._blob.digest}",
            query={"digest": str(self._blob.digest)},
            headers={"Content-Type": OCTETS, "Content-Length": str(size)},
            good=frozenset({201}),
            scopes=self._repository.push,
            body=(lambda: self._source(0)) if size else (lambda: b""),
            tries=1,
        )
        async with self._repository.door.ask(ask):
            pass

    async def _part(self, place: URL, start: int) -> URL:
        """end-5: all that is missing from ``start`` on; where to go on."""
        ask = Ask(
            method="PATCH",
            where=place,
            what=f"blob {self._blob.digest}",
            headers={
                "Content-Type": OCTETS,
                "Content-Range": f"{start}-{self._blob.size - 1}",
                "Content-Length": str(self._blob.size - start),
            },
            good=frozenset({202}),
            scopes=self._repository.push,
            body=lambda: self._source(start),
            tries=1,
        )
        async with self._repository.door.ask(ask) as response:
            return self._repository.location(response.url, response.headers)

    async def _resume(self, place: URL) -> tuple[URL, int]:
        """end-13: how much has arrived; a new upload from the start when that one is gone."""
        ask = Ask(
            method="GET",
            where=place,
            what=f"upload of {self._blob.digest}",
            good=frozenset({204}),
            scopes=self._repository.push,
        )
        try:
            async with self._repository.door.ask(ask) as response:
                match = _RANGE.fullmatch(response.headers.get("Range", ""))
                reached = int(match[1]) + 1 if match else 0
                if 1 < reached < self._blob.size:
                    location = response.headers.get("Location", "")
                    if location:
                        place = self._repository.location(response.url, response.headers)
                    return place, reached
        except (NotFound, Invalid):
            pass
        fresh = await self._repository.begin_upload(self._blob.digest)
        assert fresh is not None, "no mount was asked for"
        return fresh, 0
