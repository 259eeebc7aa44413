"""How many bytes the store may take: whoever lets it grow asks before, and is refused in time.

What is used is what was measured last, what has grown since, and what was granted and not yet
written; so it is never less than what the disk says. Asking is cheap while there is room. When
there is none, the ``collector`` (``host/collect.py``) makes some, or refuses with the figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from wirt.errors import Exhausted

STEP = 8 * 1024**2
"""Bytes that an upload asks for at once, at most."""


class Collector(Protocol):
    """Makes room."""

    async def make_room(self, need: int) -> None:
        """Collect until ``need`` bytes fit. Raises Exhausted when they cannot."""
        ...

    async def free(self, size: int) -> None:
        """Let caches go until so many bytes of the disk may be written, or nothing is left."""
        ...


class Budget:
    """``maximum``: bytes, or 0 for no limit. May be asked from any thread."""

    def __init__(self, maximum: int = 0) -> None:
        self.maximum = maximum
        self._lock = threading.Lock()
        self._used = 0
        self._granted = 0
        self._collector: Collector | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def serve(self, collector: Collector, loop: asyncio.AbstractEventLoop) -> None:
        """Who makes room from now on, in this loop."""
        self._collector, self._loop = collector, loop

    @property
    def left(self) -> int:
        """Bytes that may still be asked for; negative when the store is too large already."""
        if not self.maximum:
            return 2**62
        return self.maximum - self._used - self._granted

    @property
    def used(self) -> int:
        """Bytes that are taken or promised."""
        return self._used + self._granted

    def measured(self, used: int) -> None:
        """What the disk says now, without what is being written."""
        with self._lock:
            self._used = used

    def grew(self, size: int) -> None:
        """The store has become larger (or, when negative, smaller) by ``size`` bytes."""
        with self._lock:
            self._used += size

    def give_back(self, size: int) -> None:
        """Bytes that were granted are not needed any more, or are counted as growth now."""
        with self._lock:
            self._granted -= size

    def grant(self, size: int) -> None:
        """Promise bytes to a thread, which may wait meanwhile. Raises Exhausted."""
        if self._grant(size):
            return
        if self._collector is not None and self._loop is not None and not _in_loop():
            work = self._collector.make_room(size)
            asyncio.run_coroutine_threadsafe(work, self._loop).result()
            if self._grant(size):
                return
        raise refusal(self, size)

    def free_disk(self, size: int) -> None:
        """Ask, from a thread, that caches leave so many bytes of the disk free, if they can."""
        if self._collector is not None and self._loop is not None and not _in_loop():
            work = self._collector.free(size)
            asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def freed(self, size: int) -> None:
        """The same from a coroutine."""
        if self._collector is not None:
            await self._collector.free(size)

    @contextlib.asynccontextmanager
    async def reserved(self, size: int, *, least: int | None = None) -> AsyncIterator[int]:
        """Promise bytes to a coroutine for as long as the block runs: ``size``, or ``least`` when
        that many cannot be had; which of them. Raises Exhausted."""
        granted = size
        if not await self._ask(size):
            granted = size if least is None else min(least, size)
            if granted == size or not await self._ask(granted):
                raise refusal(self, granted)
        try:
            yield granted
        finally:
            self.give_back(granted)

    async def _ask(self, size: int) -> bool:
        if self._grant(size):
            return True
        if self._collector is None:
            return False
        with contextlib.suppress(Exhausted):
            await self._collector.make_room(size)
        return self._grant(size)

    def _grant(self, size: int) -> bool:
        with self._lock:
            if self.maximum and size > self.left:
                return False
            self._granted += size
            return True


def disk_size(path: Path) -> int:
    """Bytes that a file takes on the disk; 0 when it is not there."""
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def refusal(budget: Budget, need: int) -> Exhausted:
    """The error for what does not fit."""
    return Exhausted(
        f"the store may take {budget.maximum} bytes; {budget.used} are taken by what is in use, "
        f"so {need} more do not fit",
        hint="remove guests and images that are not needed ('wirt df -v' shows them), or let "
        "wirtd have more with --max-disk",
        code="store.over-budget",
    )


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
