"""The missing pieces of asyncio: owned tasks, and clean-up that a cancellation cannot cut short.

This is the only place that calls ``create_task`` (ruff TID251 forbids it elsewhere): a task that
nobody owns is collected by accident and its failure is heard by nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from wirt.errors import Timeout

T = TypeVar("T")

log = logging.getLogger("wirt.aio")


class Nursery:
    """Owns tasks. A child's failure is recorded and reported; its siblings go on.

    A plain TaskGroup would cancel every guest's watcher because one failed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failures = 0

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Run ``work`` as an owned task."""
        task = asyncio.create_task(work, name=f"{self.name}: {name}")  # noqa: TID251 - the door
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures += 1
            log.error("task %s failed", task.get_name(), exc_info=error)

    def __len__(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def shielded(work: Awaitable[T], *, deadline: float = 30.0) -> T:
    """Finish ``work`` even when the caller is cancelled meanwhile; then be cancelled.

    Raises :class:`~wirt.errors.Timeout` when it takes longer than ``deadline`` seconds; by then it
    was cancelled, and has undone what it undoes.
    """
    inner: asyncio.Future[T] = asyncio.ensure_future(  # noqa: TID251 - awaited right below
        _bounded(work, deadline)
    )
    try:
        return await asyncio.shield(inner)
    except asyncio.CancelledError:
        if not inner.done():
            await asyncio.wait({inner})
        if not inner.cancelled() and inner.exception() is not None:
            log.warning("clean-up after cancellation failed", exc_info=inner.exception())
        raise


async def _bounded(work: Awaitable[T], deadline: float) -> T:
    try:
        async with asyncio.timeout(deadline) as bound:
            return await work
    except TimeoutError:
        if not bound.expired():
            raise  # the work's own
        raise Timeout(
            f"it took longer than {deadline:g} s and was broken off",
            hint="'wirt doctor' and the daemon's log tell what may hang",
        ) from None


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Run ``work`` while the block runs. The block awaits the task for its result or error; a
    block that ends without, or fails, cancels it and waits until it has ended."""
    task = asyncio.create_task(work)  # noqa: TID251 - the door
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Team:
    """Tasks that succeed or fail together. ``async with Team() as team:`` waits for all of them;
    the first failure cancels the others and is raised, in an exception group."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Team:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._group.__aexit__(kind, error, trace)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``work`` as one of them."""
        return self._group.create_task(work)


class Locks:
    """One lock per key, made on first use and dropped after the last."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    def hold(self, key: str) -> _Hold:
        """``async with locks.hold(guest_id):``"""
        return _Hold(self._locks, key)


class _Hold:
    def __init__(self, locks: dict[str, tuple[asyncio.Lock, int]], key: str) -> None:
        self._locks = locks
        self._key = key

    async def __aenter__(self) -> None:
        lock, users = self._locks.get(self._key, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[self._key] = (lock, users + 1)
        try:
            await lock.acquire()
        except BaseException:
            self._leave(lock)
            raise

    async def __aexit__(self, *error: object) -> None:
        lock, _ = self._locks[self._key]
        lock.release()
        self._leave(lock)

    def _leave(self, lock: asyncio.Lock) -> None:
        _, users = self._locks[self._key]
        if users == 1:
            del self._locks[self._key]
        else:
            self._locks[self._key] = (lock, users - 1)


Undoing = Callable[[], Awaitable[object]]
