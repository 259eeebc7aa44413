"""Waiting for what another process, or a later turn of the loop, makes true.

A test never sleeps for a time in which that "must" have happened: on a loaded machine any process
may stand still for seconds. It waits until it is so, and fails when that does not come.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 60.0
"""Seconds. Only a test that fails waits so long, so it may be far beyond what is ever needed."""


async def eventually(true: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
    """Wait until something is true; the test fails when it does not come."""
    try:
        async with asyncio.timeout(timeout):
            while not true():  # noqa: ASYNC110 - other processes set no events
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"this did not happen: {what}") from None


def until(true: Callable[[], object], what: str, within: float = PATIENCE) -> None:
    """As :func:`eventually`, for tests without a loop."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"this did not happen: {what}"
        time.sleep(0.02)


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for this signal: before that it would not hear it, as the
    first process of its namespace, or die of it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False
