"""Signs of life to the helper, which carries out the safe plan when none comes any more."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable

from wirt.errors import WirtError
from wirt.host.governing.actuate import Actuator
from wirt.privileged.holds import Safe

BEAT = 2.0
"""Seconds between two signs of life while there is a safe plan."""


class Heartbeat:
    """Remembers the plan that the helper has."""

    def __init__(self, actuator: Actuator) -> None:
        self._actuator = actuator
        self._plan: tuple[Safe, ...] | None = None
        self._last = time.monotonic()

    async def keep(self, plan: tuple[Safe, ...]) -> None:
        """Have this plan from now on. Raises WirtError when nobody would carry it out."""
        now = time.monotonic()
        if plan != self._plan:
            await self._actuator.govern((), plan)
            self._plan, self._last = plan, now
        elif plan and now - self._last >= BEAT:
            await self._actuator.govern((), None)
            self._last = now

    async def wait(self, urgent: asyncio.Event, seconds: float) -> None:
        """Until it is urgent or so many seconds are over; a tick may be longer than the helper's
        patience. A sign of life that does not come through is the next tick's trouble."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not urgent.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(urgent.wait(), min(left, BEAT))
            if self._plan is not None:
                with contextlib.suppress(WirtError):
                    await self.keep(self._plan)

    async def add(self, more: Iterable[Safe]) -> None:
        """Have these in it as well. Raises WirtError likewise."""
        plan = self._plan or ()
        here = {safe.id for safe in plan}
        await self.keep((*plan, *(safe for safe in more if safe.id not in here)))

    async def clear(self) -> None:
        """Have no plan: everybody has what it says. Raises WirtError likewise."""
        if self._plan:
            await self.keep(())
