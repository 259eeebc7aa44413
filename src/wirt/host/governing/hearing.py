"""Hearing between two ticks who is short of memory: guests that wait, and pressure on the host.

With version 1 of control groups a guest at its limit stands still, and an eventfd says so; with
version 2 it is slowed down, and pressure stall information tells of it. Either way it is fed at
once from what is free, and the next tick, which thinks about it, comes early. Pressure on the whole
host brings the next tick as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable

from wirt.aio import Nursery
from wirt.errors import WirtError
from wirt.host.governing.actuate import Actuator
from wirt.host.governing.member import Member
from wirt.host.governing.memory import Mover
from wirt.linux.ear import Ear

log = logging.getLogger("wirt.host.governing")

HOST = ""
"""The actuator's word for the host itself."""
APART = 0.25
"""Seconds between two ticks that pressure brings, at least: of fifty guests that stand still the
kernel tells fifty times a second."""


class Hearing:
    """``urgent`` is set when the next tick should not wait."""

    def __init__(
        self, *, actuator: Actuator, nursery: Nursery, mover: Mover, urgent: asyncio.Event
    ) -> None:
        self._actuator = actuator
        self._nursery = nursery
        self._mover = mover
        self._urgent = urgent
        self._host: Ear | None = None
        self._early = 0.0
        self.feeding = False
        """Whether memory is divided, so that there is something to be fed from."""

    async def begin(self) -> None:
        """Listen to the host. Where the kernel does not measure pressure, ticks do."""
        try:
            fd = await self._actuator.watch(HOST)
        except WirtError as error:
            log.info("pressure on the host is looked at in ticks only: %s", error.message)
            return
        self._host = Ear(fd, self._hasten)

    async def watch(self, members: Iterable[Member]) -> None:
        """Listen to these too. A guest of version 1 that cannot be watched must not wait, and is
        tried again; of version 2 its ticks are enough."""
        for member in members:
            if member.watched:
                continue
            try:
                event = await self._actuator.watch(member.guest.id)
            except WirtError as error:
                log.warning("guest %s cannot be watched: %s", member.guest.name, error.message)
                member.watched = member.v2
                continue
            self._listen(member, event)
            member.watched = True

    def close(self) -> None:
        """Listen to the host no more. Members have their own end."""
        if self._host is not None:
            self._host.close()
            self._host = None

    def _listen(self, member: Member, event: int) -> None:
        if member.v2:
            member.deafen = Ear(event, lambda: self._pressed(member)).close
            return
        loop = asyncio.get_running_loop()

        def waits() -> None:
            with contextlib.suppress(OSError):
                os.eventfd_read(event)
            self._waits(member)

        def close() -> None:
            loop.remove_reader(event)
            os.close(event)

        loop.add_reader(event, waits)
        member.deafen = close

    def _waits(self, member: Member) -> None:
        """It stands still at its limit."""
        if self.feeding:
            member.starving = member.starving or time.monotonic()
            self._nursery.start(self._feed(member, self._urgent.set), name="feed")

    def _pressed(self, member: Member) -> None:
        """It is slowed down at its limit, or reads again what was taken from it."""
        if self.feeding:
            self._nursery.start(self._feed(member, self._hasten), name="feed")

    async def _feed(self, member: Member, then: Callable[[], None]) -> None:
        with contextlib.suppress(WirtError):
            await self._mover.feed(member)
        then()

    def _hasten(self) -> None:
        now = time.monotonic()
        if now - self._early >= APART:
            self._early = now
            self._urgent.set()
