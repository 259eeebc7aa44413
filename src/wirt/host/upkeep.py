"""What is done in the background for the store: never while somebody waits for it.

Chores are due when something has ended that makes them worth while, or after an hour; after a
minute if whoever is needed for them, the helper, was away. They wait
until a moment passes in which nothing ended: builds that follow each other would only wait for
what was cleared away between them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from wirt.errors import Unavailable

log = logging.getLogger("wirt.upkeep")

QUIET = 5.0
"""Seconds in which nothing ended before chores are done."""
LONGEST = 120.0
"""Seconds that they are put off for at most."""
MINUTE, HOUR = 60.0, 3600.0

Chore = Callable[[], Awaitable[object]]


class Upkeep:
    """Does chores, one after the other, whenever ``ended`` is set."""

    def __init__(
        self, ended: asyncio.Event, *, quiet: float = QUIET, longest: float = LONGEST
    ) -> None:
        self._ended = ended
        self._quiet = quiet
        self._longest = longest
        self.chores: dict[str, Chore] = {}

    async def serve(self) -> None:
        """Until cancelled; begins with the chores, which a crash may have left undone."""
        while True:
            await self._settle()
            done = await do(self.chores)
            await _within(self._ended, HOUR if done else MINUTE)

    async def _settle(self) -> None:
        loop = asyncio.get_running_loop()
        latest = loop.time() + self._longest
        while loop.time() < latest:
            self._ended.clear()
            if not await _within(self._ended, self._quiet):
                return


async def every(seconds: float, chores: Mapping[str, Chore]) -> None:
    """Do small chores again and again, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        await do(chores)


async def do(chores: Mapping[str, Chore]) -> bool:
    """All chores now. One that fails is told in the log. False when nobody was there to do one
    of them, the helper for instance, who may come back soon."""
    done = True
    for name, chore in chores.items():
        try:
            await chore()
        except Unavailable as error:
            done = False
            log.warning("the chore %r waits: %s", name, error.message)
        except Exception:
            log.exception("the chore %r failed", name)
    return done


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
