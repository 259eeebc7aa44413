"""Signs of life: they come between two ticks as well, however long a tick is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fakes.governing import FakeKernel
from waiting import eventually
from wirt.errors import Unavailable
from wirt.host.governing import heartbeat
from wirt.privileged.holds import Held, Hold, Safe


class Counting(FakeKernel):
    """``beats``: signs of life that said nothing new. ``deaf``: none comes through."""

    def __init__(self) -> None:
        super().__init__({})
        self.beats = 0
        self.deaf = False

    async def govern(
        self, holds: Sequence[Hold], safe: tuple[Safe, ...] | None = None
    ) -> tuple[Held, ...]:
        self.beats += safe is None
        if self.deaf:
            raise Unavailable("the helper is gone")
        return await super().govern(holds, safe)


def test_a_long_tick_is_full_of_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.01)

    async def story() -> None:
        kernel, urgent = Counting(), asyncio.Event()
        heart = heartbeat.Heartbeat(kernel)
        await heart.wait(urgent, 0.05)
        assert kernel.beats == 0, "nobody is held, so nobody need be saved"
        await heart.keep((Safe(id="a", limit=-1),))
        async with asyncio.TaskGroup() as group:
            group.create_task(heart.wait(urgent, 600.0))
            await eventually(lambda: kernel.beats > 2, "it is heard")
            kernel.deaf = True
            count = kernel.beats
            await eventually(lambda: kernel.beats > count, "it is tried again")
            urgent.set()

    asyncio.run(story())
