"""Resizing a running machine through its monitor: every step bounded, and undone when it fails.

A guest need not do what it is asked. So what came of a step is read back until it stands still.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from wirt.engine._elastic import STALE, judged
from wirt.engine._sizes import MIB
from wirt.errors import Conflict, Unavailable, Unsupported, WirtError
from wirt.model.units import format_size
from wirt.qemu.qmp import Memory, Monitor

PATIENCE = 10.0
"""Seconds in which nothing moves, after which nothing will."""
LONGEST = 600.0
SLACK = 4 * MIB
KEPT = 48 * MIB
"""What a guest that is made smaller must have to spare afterwards: its kernel needs some."""
_STEP = 0.1
Read = Callable[[], Awaitable[int]]


async def check_memory(monitor: Monitor, size: int, kind: str) -> None:
    """Raise Unsupported when the machine cannot become so large."""
    most = (await monitor.memory()).start + (await monitor.extra()).most
    if size > most:
        raise Unsupported(
            f"this running {kind} can have at most {format_size(most)} of memory",
            hint="stop it, update it, and start it again",
        )


async def set_memory(monitor: Monitor, size: int, name: str) -> None:
    """Give a machine ``size`` bytes, whole MiB. Memory is plugged in or out; what is left to do the
    balloon does, which gives way before the guest kills a process.

    Raises Conflict when the guest keeps more than that, Unavailable when it does not take what it
    is given; then it is left as it was.
    """
    before, spare = await monitor.memory(), None
    if size < before.whole:
        before, spare = await _counted(monitor)
        least = 0 if spare is None else before.left - spare + KEPT
        if size < min(least, before.left):
            raise _keeps(name, least)
    wanted = max(size - before.start, 0)
    # Nothing gives way while memory is plugged out: not without knowing that there is enough.
    plugs = wanted > before.plugged or (wanted < before.plugged and spare is not None)
    try:
        if plugs:
            await _plug(monitor, wanted, before.plugged, name)
        await _inflate(monitor, size, name)
    except WirtError:
        if plugs:
            await monitor.set_extra(before.plugged)
        await monitor.leave(before.left)
        raise


async def _counted(monitor: Monitor) -> tuple[Memory, int | None]:
    """What a machine has, and what new programs of its guest could have; None when it does not say.

    It says what it counted last, which may have been before it was given, or left, what it has:
    only a count that began after this was asked is taken for true.
    """
    asked, end = time.time(), time.monotonic() + STALE
    while True:
        memory, figures = await monitor.told()
        silent = asked - figures.at > STALE
        if silent or figures.at > asked or time.monotonic() > end:
            return memory, judged(memory, figures, now=time.time()).available
        await asyncio.sleep(_STEP)


def _keeps(name: str, size: int) -> Conflict:
    return Conflict(
        f"the guest {name!r} needs {format_size(size)} of memory now",
        hint="end some of its programs, or leave it that much",
    )


async def _plug(monitor: Monitor, wanted: int, before: int, name: str) -> None:
    if wanted > before:  # who is given more should not be asked for some at the same time
        await monitor.leave((await monitor.memory()).whole)
    await monitor.set_extra(wanted)

    async def plugged() -> int:
        return (await monitor.extra()).size

    now = await settled(plugged, wanted)
    if before < wanted != now:
        raise Unavailable(
            f"the guest {name!r} took {format_size(max(now - before, 0))} of the "
            f"{format_size(wanted - before)} of memory that were added",
            hint="its kernel must be able to take memory while it runs",
        )


async def _inflate(monitor: Monitor, size: int, name: str) -> None:
    await monitor.leave(size)

    async def left() -> int:
        return (await monitor.memory()).left

    now = await settled(left, size)
    if now > size + SLACK:
        raise _keeps(name, now)


async def settled(read: Read, goal: int) -> int:
    """What ``read`` says when it is ``goal``, or does not change any more."""
    began = moved = time.monotonic()
    now = await read()
    while now != goal and time.monotonic() - moved < PATIENCE and moved - began < LONGEST:
        await asyncio.sleep(_STEP)
        before, now = now, await read()
        if now != before:
            moved = time.monotonic()
    return now


async def check_processors(monitor: Monitor, count: int, kind: str) -> None:
    """Raise Unsupported when the machine cannot have so many."""
    there, places = await monitor.processors()
    if count > there + len(places):
        most = there + len(places)
        raise Unsupported(
            f"this running {kind} can have at most {most} CPU{'s' if most > 1 else ''}",
            hint="stop it, update it, and start it again",
        )


async def add_processors(monitor: Monitor, count: int, use: Read, name: str) -> None:
    """Have at least ``count`` processors. ``use``: has the guest set to work what is there, and
    says how many do. Raises Unavailable when it does not use them."""
    there, places = await monitor.processors()
    for place in places[: max(count - there, 0)]:
        await monitor.add_processor(place)
    if count > there and await settled(use, count) < count:
        raise Unavailable(
            f"the guest {name!r} does not use the CPUs that were added",
            hint="look at its kernel's log with 'wirt exec', as with dmesg",
        )
