"""Who carries out what the governor decides: the root helper, or a fake in tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wirt.privileged.client import Helper
from wirt.privileged.holds import Held, Hold, Safe
from wirt.privileged.protocol import (
    FreezeGuest,
    Govern,
    KillGuest,
    SetPool,
    SetSwap,
    Squeeze,
    WatchMemory,
)  # fmt: skip


class Actuator(Protocol):
    """Every method raises :class:`~wirt.errors.WirtError` when nobody acts."""

    async def govern(
        self, holds: Sequence[Hold], safe: tuple[Safe, ...] | None = None
    ) -> tuple[Held, ...]:
        """The quick writes, in order; ``safe``: another plan for when nobody governs."""
        ...

    async def squeeze(self, holds: Sequence[Hold]) -> tuple[Held, ...]:
        """Take memory back; may take seconds."""
        ...

    async def watch(self, guest_id: str) -> int:
        """A descriptor, the caller's to close, that tells when the guest waits for memory: an
        eventfd with version 1, a :func:`~wirt.linux.pressure.trigger` with version 2 and, for no
        guest, of the whole host."""
        ...

    async def bound(self, *, cpu_millis: int, memory: int) -> None:
        """Limit all guests together; 0: no limit."""
        ...

    async def swap(self, size: int) -> int | None:
        """Have so many bytes of compressed memory as swap, 0: none; the number of its device."""
        ...

    async def freeze(self, guest_id: str, frozen: bool) -> None:
        """Freeze or thaw."""
        ...

    async def kill(self, guest_id: str) -> None:
        """End all processes of a guest."""
        ...


class HelperActuator:
    """See :class:`Actuator`."""

    def __init__(self, helper: Helper) -> None:
        self._helper = helper

    async def govern(
        self, holds: Sequence[Hold], safe: tuple[Safe, ...] | None = None
    ) -> tuple[Held, ...]:
        answer, _ = await self._helper.call(Govern(holds=tuple(holds), safe=safe))
        return answer.held

    async def squeeze(self, holds: Sequence[Hold]) -> tuple[Held, ...]:
        answer, _ = await self._helper.call(Squeeze(holds=tuple(holds)))
        return answer.held

    async def watch(self, guest_id: str) -> int:
        _, fds = await self._helper.call(WatchMemory(id=guest_id))
        return fds[0]

    async def bound(self, *, cpu_millis: int, memory: int) -> None:
        await self._helper.call(SetPool(cpu_millis=cpu_millis, memory=memory))

    async def swap(self, size: int) -> int | None:
        answer, _ = await self._helper.call(SetSwap(size=size))
        return answer.number

    async def freeze(self, guest_id: str, frozen: bool) -> None:
        await self._helper.call(FreezeGuest(id=guest_id, frozen=frozen))

    async def kill(self, guest_id: str) -> None:
        await self._helper.call(KillGuest(id=guest_id))
