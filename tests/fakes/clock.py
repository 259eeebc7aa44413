"""An event loop whose time only passes when nobody has anything to do: a minute takes no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

END_OF_TIME = 30 * 24 * 3600.0
"""Seconds; a story that takes longer waits for something that never happens."""


class Stuck(AssertionError):
    """Everybody waits, and nothing will ever wake anybody."""


class _Selector(selectors.SelectSelector):
    """Never sleeps: says how long it would have slept."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and (timeout is None or self.now > END_OF_TIME):
            raise Stuck
        if not ready:
            assert timeout is not None
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time()`` jumps from one deadline to the next."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def tell(story: Coroutine[Any, Any, T]) -> T:
    """Run a story to its end in virtual time. Raises Stuck when it can't end."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(story)
    finally:
        while left := asyncio.all_tasks(loop):  # what shields itself is cancelled again
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()
