"""The caches of steps: who uses which now, and what becomes of those that nobody does."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence

from wirt.aio import Locks
from wirt.errors import Conflict, NotFound
from wirt.host.insist import WHILE_SOMEBODY_WAITS, insist
from wirt.image.build.step import CacheMount, Sharing
from wirt.privileged.client import Helper
from wirt.privileged.protocol import Cache, DropCaches, ListCaches, ReadCache, WriteCache


class BuildCaches:
    """The cache mounts of builds, as named things of the store."""

    def __init__(self, helper: Helper) -> None:
        self._helper = helper
        self._locks = Locks()
        self._used: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def use(
        self, mounts: Sequence[CacheMount], *, in_machine: bool = False
    ) -> AsyncIterator[dict[CacheMount, str]]:
        """Names of the caches to mount, theirs for the block. A ``locked`` one is waited for, and
        so is a ``shared`` one ``in_machine``: a lock that a program takes on a file is known to
        that machine's kernel only, so two of them would not keep out of each other's way."""
        waited = {Sharing.LOCKED, *([Sharing.SHARED] if in_machine else [])}
        async with contextlib.AsyncExitStack() as stack:
            locked = {name_of(one.id) for one in mounts if one.sharing in waited}
            for name in sorted(locked):  # in one order, or two steps could wait for each other
                await stack.enter_async_context(self._locks.hold(name))
            chosen: dict[CacheMount, str] = {}
            for one in mounts:
                chosen[one] = self._choose(one)
                self._used[chosen[one]] += 1
                stack.callback(self._release, chosen[one])
            yield chosen

    def _choose(self, one: CacheMount) -> str:
        number = 0
        if one.sharing is Sharing.PRIVATE:
            while self._used[name_of(one.id, number)]:
                number += 1
        return name_of(one.id, number)

    def _release(self, name: str) -> None:
        self._used[name] -= 1
        self._used += Counter()

    @property
    def used(self) -> frozenset[str]:
        """Names of those that steps use now."""
        return frozenset(self._used)

    async def all(self) -> tuple[Cache, ...]:
        """Every cache with its size, by name."""
        answer, _ = await self._helper.call(ListCaches())
        return answer.caches

    async def size(self) -> int:
        """Bytes of all of them."""
        return sum(one.size for one in await self.all())

    async def drop(self, names: Iterable[str]) -> tuple[str, ...]:
        """Delete caches but those in use; which ones were."""
        free = tuple(name for name in names if not self._used[name])
        if free:
            await insist(self._helper, DropCaches(names=free), patience=WHILE_SOMEBODY_WAITS)
        return free

    async def export(self, cache_id: str, descriptor: int) -> None:
        """Write the files of a cache as a tar stream. Raises NotFound."""
        try:
            await self._helper.call(ReadCache(name=name_of(cache_id)), [descriptor])
        except NotFound as error:
            raise NotFound(
                f"there is no cache {cache_id[:80]!r}",
                hint="'wirt df -v' lists the caches of builds",
                code="cache.not-found",
            ) from error

    async def restore(
        self, cache_id: str, descriptor: int, *, max_bytes: int, max_entries: int
    ) -> None:
        """Make a cache of a tar stream, unless it is there already. Raises Invalid, Conflict."""
        name = name_of(cache_id)
        if self._used[name]:
            raise Conflict(f"the cache {cache_id[:80]!r} is being used", code="cache.in-use")
        verb = WriteCache(name=name, key=cache_id, max_bytes=max_bytes, max_entries=max_entries)
        await self._helper.call(verb, [descriptor])


def name_of(cache_id: str, number: int = 0) -> str:
    """The name of the directory of a cache: no text that a user writes becomes a path."""
    return hashlib.sha256(f"{number}\0{cache_id}".encode()).hexdigest()
