"""Resizing machines whose guests do not do what they are asked."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest

from wirt.engine import _growth
from wirt.errors import Conflict, Unavailable, Unsupported
from wirt.qemu.qmp import Extra, Figures, Memory, Monitor

MIB = 1 << 20
START, MOST = 512 * MIB, 1024 * MIB


class Guest:
    """In place of a monitor: a guest that follows by ``step`` bytes each time somebody looks, as
    far as it ``uses`` no more. ``tells``: whether it says what it has to spare."""

    def __init__(self, *, step: int = 256 * MIB, uses: int = 0, tells: bool = True) -> None:
        self.step, self.uses, self.tells = step, uses, tells
        self.extra_now = self.extra_wanted = 0
        self.balloon = self.balloon_wanted = 0
        self.least = START

    def _move(self) -> None:
        self.extra_now = self._towards(self.extra_now, self.extra_wanted)
        self.balloon = self._towards(self.balloon, self.balloon_wanted)
        self.balloon = max(min(self.balloon, START + self.extra_now - self.uses), 0)
        self.least = min(self.least, START + self.extra_now)

    def _towards(self, now: int, wanted: int) -> int:
        return now + max(min(wanted - now, self.step), -self.step)

    async def memory(self) -> Memory:
        self._move()
        whole = START + self.extra_now
        return Memory(start=START, plugged=self.extra_now, left=whole - self.balloon)

    async def leave(self, size: int) -> None:
        self.balloon_wanted = max(START + self.extra_now - size, 0)

    async def extra(self) -> Extra:
        self._move()
        return Extra(size=self.extra_now, most=MOST)

    async def set_extra(self, size: int) -> None:
        self.extra_wanted = size

    async def figures(self) -> Figures:
        if not self.tells:
            return Figures()
        spare = START + self.extra_now - self.balloon - self.uses
        return Figures(at=time.time(), said={"stat-available-memory": spare})

    async def told(self) -> tuple[Memory, Figures]:
        return await self.memory(), await self.figures()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_growth, "PATIENCE", 0.05)
    monkeypatch.setattr(_growth, "_STEP", 0.001)


def _set(guest: Guest, size: int) -> Memory:
    async def story() -> Memory:
        await _growth.set_memory(cast(Monitor, guest), size, "g")
        return await guest.memory()

    return asyncio.run(story())


@pytest.mark.parametrize("step", [2 * MIB, 256 * MIB])
def test_a_guest_that_follows_has_what_was_asked_for(step: int) -> None:
    guest = Guest(step=step, uses=100 * MIB)
    for size in (1024 * MIB, 300 * MIB, 400 * MIB, 600 * MIB, 512 * MIB):
        memory = _set(guest, size)
        assert (memory.left, memory.plugged) == (size, max(size - START, 0))


def test_a_guest_that_takes_nothing_is_told_and_asked_no_more() -> None:
    guest = Guest(step=0)
    with pytest.raises(Unavailable, match="took 0B of the 512MiB"):
        _set(guest, 1024 * MIB)
    assert (guest.extra_wanted, guest.balloon_wanted) == (0, 0)


@pytest.mark.parametrize("tells", [False, True])
def test_a_guest_that_gives_nothing_keeps_what_it_has(tells: bool) -> None:
    guest = Guest(step=0, tells=tells)
    with pytest.raises(Conflict, match="needs 512MiB"):
        _set(guest, 256 * MIB)
    assert guest.balloon_wanted == 0


def test_a_guest_is_never_made_smaller_than_what_it_uses() -> None:
    guest = Guest(uses=400 * MIB)
    _set(guest, 1024 * MIB)
    with pytest.raises(Conflict, match="needs 448MiB of memory now"):
        _set(guest, 440 * MIB)
    assert guest.extra_wanted == 512 * MIB
    assert _set(guest, 512 * MIB).plugged == 0


class Slow(Guest):
    """Counts once in half a second; says what it counted last."""

    def __init__(self) -> None:
        super().__init__(uses=100 * MIB)
        self.counted = Figures()

    async def figures(self) -> Figures:
        if time.time() - self.counted.at > 0.5:
            self.counted = await super().figures()
        return self.counted


def test_what_was_counted_before_memory_was_given_refuses_nothing() -> None:
    guest = Slow()
    asyncio.run(guest.figures())  # it has 412 of 512 MiB to spare
    assert _set(guest, 1024 * MIB).left == 1024 * MIB
    assert _set(guest, 300 * MIB).left == 300 * MIB
    with pytest.raises(Conflict, match="needs 148MiB of memory now"):
        _set(guest, 140 * MIB)


def test_memory_is_not_plugged_out_of_a_guest_that_tells_nothing() -> None:
    guest = Guest(uses=100 * MIB)
    _set(guest, 1024 * MIB)
    guest.tells = False
    memory = _set(guest, 300 * MIB)
    assert (memory.left, memory.plugged) == (300 * MIB, 512 * MIB)


class Processors:
    """A monitor of a machine with one processor and places for two."""

    def __init__(self) -> None:
        self.added: list[Any] = []

    async def processors(self) -> tuple[int, list[dict[str, object]]]:
        places: list[dict[str, object]] = [{"id": "a"}, {"id": "b"}]
        return 1 + len(self.added), places[len(self.added) :]

    async def add_processor(self, place: dict[str, object]) -> None:
        self.added.append(place["id"])


def test_processors_are_added_in_their_order_and_not_beyond() -> None:
    machine = Processors()
    monitor = cast(Monitor, machine)

    async def use() -> int:
        return 1 + len(machine.added)

    async def unused() -> int:
        return 1

    async def story() -> None:
        await _growth.check_processors(monitor, 3, "vm")
        with pytest.raises(Unsupported, match="at most 3 CPUs"):
            await _growth.check_processors(monitor, 4, "vm")
        await _growth.add_processors(monitor, 2, use, "g")
        assert machine.added == ["a"]
        await _growth.add_processors(monitor, 2, use, "g")
        assert machine.added == ["a"]
        with pytest.raises(Unavailable, match="does not use the CPUs"):
            await _growth.add_processors(monitor, 3, unused, "g")

    asyncio.run(story())
