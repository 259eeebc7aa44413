"""Clean-up must happen even when the helper is just being restarted: ask until it answers."""

from __future__ import annotations

import asyncio
import logging
from typing import TypeVar

import msgspec

from wirt.errors import Unavailable
from wirt.privileged.client import Helper
from wirt.privileged.protocol import Verb

A = TypeVar("A", bound=msgspec.Struct)

log = logging.getLogger("wirt.insist")

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
PATIENCE = 60.0

WHILE_SOMEBODY_WAITS = 5.0
"""Seconds for a verb whose outcome a client waits for: enough for a helper to be started again."""


async def insist(helper: Helper, verb: Verb[A], *, patience: float = PATIENCE) -> A:
    """Have a repeatable verb carried out, though the helper may be gone for up to a minute.

    ``patience``: seconds. Raises what the helper told, or Unavailable when they are over; the next
    start of the daemon sweeps up then.
    """
    pause = FIRST_PAUSE
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            answer, _ = await helper.call(verb)
        except Unavailable as error:
            if loop.time() > deadline:
                raise
            log.warning("%s: %s; trying again", type(verb).__name__, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            return answer
