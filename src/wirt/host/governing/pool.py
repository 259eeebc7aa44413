"""The pool in the kernel: the limit of the whole instance, and its compressed swap."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from wirt.errors import WirtError
from wirt.governor.tree import Resource
from wirt.host.claims import told
from wirt.host.governing import refusals
from wirt.host.governing.actuate import Actuator
from wirt.host.governing.policy import Pool, part_of, size_of
from wirt.linux import zram

log = logging.getLogger("wirt.host.governing")


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapUse:
    """Bytes. ``size``: of the swap. ``used``: swapped out to it. ``stored``: of memory that it
    takes, compressed."""

    size: int
    used: int
    stored: int


class Bounds:
    """Writes the pool. ``cpus`` and ``memory``: processors and bytes of this machine."""

    def __init__(self, actuator: Actuator, *, cpus: int, memory: int) -> None:
        self._actuator = actuator
        self._cpus = cpus
        self._memory = memory
        self._device: zram.Device | None = None

    async def begin(self, pool: Pool) -> None:
        """At start. What does not work is logged: guests run nevertheless."""
        for words in self.excess(pool):
            log.warning("%s", words)
        try:
            await self._swap(pool)  # also when there shall be none: one may be left
            if pool.cpu is not None or pool.memory is not None:
                await self._limit(pool)
        except WirtError as error:
            log.warning("%s", error.message)

    def excess(self, pool: Pool) -> tuple[str, ...]:
        """What of a pool this machine does not have, in words that name what is in force."""
        return tuple(
            f"{found} of the governor's policy is more than this host has: guests share at most "
            f"{most}"
            for found, most, _ in self._beyond(pool)
        )

    def check(self, pool: Pool) -> None:
        """Raise Invalid when a pool is larger than this machine."""
        for found, most, typed in self._beyond(pool):
            raise refusals.refuse(
                f"{found} of the governor's policy is more than the {most} of this host",
                f"write at most {typed}, or leave it out: then guests share all but the reserve",
            )

    def _beyond(self, pool: Pool) -> Iterator[tuple[str, str, str]]:
        """What stands there, what there is, and that as it is typed."""
        if pool.cpu is not None and pool.cpu > self._cpus:
            yield f"pool.cpu = {pool.cpu:g}", told(Resource.CPU, 1000 * self._cpus), str(self._cpus)
        if pool.memory is not None and size_of(pool.memory) > self._memory:
            most = told(Resource.MEMORY, self._memory)
            yield f"pool.memory = {pool.memory}", most, f"{self._memory >> 20}m"

    @contextlib.asynccontextmanager
    async def changed(self, before: Pool, wanted: Pool) -> AsyncIterator[None]:
        """As :meth:`change`, and back again when the block fails."""
        await self.change(before, wanted)
        try:
            yield
        except WirtError:
            await self.change(wanted, before)
            raise

    async def change(self, before: Pool, wanted: Pool) -> None:
        """All of it or nothing. Raises Conflict, Unsupported."""
        swaps = before.zram != wanted.zram
        if swaps:
            await self._swap(wanted)
        try:
            if (before.cpu, before.memory) != (wanted.cpu, wanted.memory):
                await self._limit(wanted)
        except WirtError:
            if swaps:
                with contextlib.suppress(WirtError):
                    await self._swap(before)
            raise

    def swap(self) -> SwapUse | None:
        """The swap now; None when there is none of ours."""
        device = self._device
        used = None if device is None else zram.used(device)
        if device is None or used is None:
            return None
        return SwapUse(size=device.size, used=used, stored=device.stored[1])

    async def _swap(self, pool: Pool) -> None:
        size = 0 if pool.zram is None else part_of(pool.zram, self._memory)
        number = await self._actuator.swap(size)
        self._device = None if number is None else zram.Device(number)

    async def _limit(self, pool: Pool) -> None:
        await self._actuator.bound(
            cpu_millis=round((pool.cpu or 0) * 1000),
            memory=0 if pool.memory is None else size_of(pool.memory),
        )
