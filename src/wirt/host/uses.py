"""What unpacked layers and disks were used for last: by that collection knows which go first, and
which are likely to be wanted again soon.

A hint, not a promise: what is lost of it costs at most an unpacking more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Set

from wirt.state.uses import CAME, DISK, LAYER, RUN, UseTable

FRESH = 60 * 10**9
"""Nanoseconds within which a further use of the same kind is not noted again."""

RUN_AGAIN = 24 * 3600 * 10**9
"""Nanoseconds for which what a guest ran on is kept unpacked: it is run again and again."""

FIRST_RUN = 3600 * 10**9
"""Nanoseconds for which an image that came is kept unpacked: it came to be run."""


class Uses:
    """Notes uses; the same one again and again costs one write a minute."""

    def __init__(self, table: UseTable, *, clock: Callable[[], int] = time.time_ns) -> None:
        """``clock``: Unix nanoseconds."""
        self._table = table
        self._clock = clock
        self._noted: dict[tuple[str, str], int] = {}
        self._seen: dict[tuple[str, str], int] = {}

    async def came(self, chain_ids: Iterable[str]) -> None:
        """These layers were unpacked for an image that somebody brought."""
        names = tuple(chain_ids)
        self._noted = {key: at for key, at in self._noted.items() if key[1] not in set(names)}
        await self._note((kind, name) for name in names for kind in (LAYER, CAME))

    async def run(self, *, layers: Iterable[str] = (), disk: str = "") -> None:
        """A guest is about to run on these layers, or on an image's disk (``disk``: its id)."""
        used = [(LAYER, name) for name in layers] + ([(DISK, disk)] if disk else [])
        await self._note([*used, *((RUN, name) for _, name in used)])

    async def built(self, chain_ids: Iterable[str]) -> None:
        """A build reads these layers."""
        await self._note((LAYER, name) for name in chain_ids)

    async def based(self, chain_ids: Iterable[str]) -> None:
        """A build begins on these layers. What is a base of builds is often nothing that is run,
        so from now on it counts no more as just come."""
        came = [(CAME, name) for name in chain_ids if self._stale((CAME + " ended", name))]
        if came:
            self._noted |= {(CAME + " ended", name): self._clock() for _, name in came}
            self._seen = {key: at for key, at in self._seen.items() if key not in set(came)}
            await self._table.forget(came)

    async def moments(self) -> dict[tuple[str, str], int]:
        """When each was used last, by kind (``layer``, ``disk``) and name."""
        return await self._table.all() | self._seen

    async def soon(self) -> frozenset[str]:
        """Names of what will probably be wanted again soon."""
        now = self._clock()
        terms = {RUN: RUN_AGAIN, CAME: FIRST_RUN}
        return frozenset(
            name
            for (kind, name), moment in (await self.moments()).items()
            if now - moment < terms.get(kind, 0)
        )

    async def forget(self, kind: str, name: str) -> None:
        """One is gone."""
        self._seen.pop((kind, name), None)
        await self._table.forget([(kind, name)])

    async def tidy(self, there: Set[str]) -> None:
        """Forget all about what is not ``there`` any more and was of no use for long."""
        oldest = self._clock() - RUN_AGAIN
        found = await self._table.all()
        gone = [key for key, at in found.items() if key[1] not in there and at < oldest]
        if gone:
            await self._table.forget(gone)
        for known in (self._noted, self._seen):
            for key in [k for k, at in known.items() if k[1] not in there and at < oldest]:
                del known[key]

    async def _note(self, uses: Iterable[tuple[str, str]]) -> None:
        now = self._clock()
        noted = tuple(uses)
        self._seen |= dict.fromkeys(noted, now)
        stale = [use for use in noted if self._stale(use)]
        if stale:
            self._noted |= dict.fromkeys(stale, now)
            await self._table.touch(stale, now)

    def _stale(self, use: tuple[str, str]) -> bool:
        return self._clock() - self._noted.get(use, 0) > FRESH
