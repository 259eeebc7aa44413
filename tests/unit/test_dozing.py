"""Falling asleep and waking, with everybody who may fail or come in between."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from wirt.aio import Nursery
from wirt.errors import Conflict, WirtError
from wirt.governor.journal import Act
from wirt.governor.movement import Reason
from wirt.governor.observe import Seen, Tick
from wirt.host.governing import dozing
from wirt.host.governing.dozing import Dozing, Says
from wirt.host.roster import Roster
from wirt.model.guest import Guest, GuestSpec, GuestState, GuestStatus
from wirt.model.idle import SECOND, IdleAction, IdleDefaults, IdleWish
from wirt.privileged import protocol as p
from wirt.privileged.holds import Woken

ID = "a" * 64
QUIET = Seen(cpu=0, memory=1, refaults=0.0)
WISH = IdleWish(action=IdleAction.PAUSE, after=3 * SECOND)


class House:
    """One guest, and who could do something to it. ``refuses``: why it cannot be frozen."""

    def __init__(self, wish: IdleWish = WISH, **status: Any) -> None:
        self.frozen = False
        self.refuses: WirtError | None = None
        self.order: list[str] = []
        self.ends: list[int] = []
        self.events: list[tuple[str, str]] = []
        self.boosted: dict[str, int] = {}
        self.acts = True
        self.execs: list[Any] = []
        self.live = SimpleNamespace(handle=self)
        self.status = GuestStatus(**{"state": GuestState.RUNNING, **status})
        self.spec = GuestSpec(image="x", idle=wish)
        self.typed: list[bool] = []

    async def open(self) -> None:
        self.nursery = Nursery("test")
        self.roster = Roster(cast(Any, self))
        await self.roster.add(
            Guest(id=ID, name="web", spec=self.spec, image_id="i", created_at=1, status=self.status)
        )
        self.dozing = Dozing(
            roster=self.roster, running=cast(Any, self), helper=cast(Any, self),
            bus=cast(Any, self), nursery=self.nursery,
            says=Says(
                defaults=IdleDefaults, boosted=lambda: self.boosted, acts=lambda: self.acts,
                frozen=lambda _: self.frozen,
            ),
        )  # fmt: skip

    async def close(self) -> None:
        for end in self.ends:
            os.close(end)
        await asyncio.sleep(0.01)  # it hears that
        await self.nursery.close()

    async def ticks(self, count: int, seen: Seen = QUIET) -> None:
        for _ in range(count):
            self.dozing.note(Tick(seconds=1.0, guests={ID: seen}))
            await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    def tell(self, woken: Woken | None) -> None:
        """As the helper does."""
        if woken is not None:
            self.frozen = False
            os.write(self.ends[-1], msgspec.json.encode(woken))
        os.close(self.ends.pop())

    @property
    def now(self) -> GuestStatus:
        return self.roster.get(ID).status

    def told(self) -> list[tuple[Act, Reason, str]]:
        return [(one.act, one.reason, one.failure) for one in self.dozing.take_done()]

    # table, running, bus, handle, helper

    async def add(self, guest: Guest) -> None:
        """Stored."""

    async def save(self, guest: Guest) -> None:
        self.order.append(guest.status.state.value)

    def get(self, _: str) -> Any:
        return self.live

    def execs_of(self, _: str) -> list[Any]:
        return self.execs

    def publish(self, _kind: str, action: str, _id: str, **facts: str) -> None:
        self.events.append((action, facts["reason"]))

    async def freeze(self, frozen: bool) -> None:
        self.frozen = frozen

    async def call(self, verb: p.Verb[Any]) -> tuple[Any, list[int]]:
        if isinstance(verb, p.WatchTraffic):
            self.order.append("watch")
            self.typed.append(verb.typed)
            theirs, ours = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self.ends.append(ours)
            return p.Done(), [theirs]
        assert isinstance(verb, p.FreezeGuest)
        assert verb.asleep
        if self.refuses is not None:
            raise self.refuses
        self.order.append("freeze")
        self.frozen = True
        return p.Done(), []


def run(house: House, story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await house.open()
        try:
            await story()
        finally:
            await house.close()

    asyncio.run(whole())


def test_it_listens_notes_and_only_then_freezes() -> None:
    house = House()

    async def story() -> None:
        await house.ticks(2)
        assert house.now.state is GuestState.RUNNING
        await house.ticks(1)
        assert house.order == ["watch", "paused", "freeze"]
        assert house.now.asleep
        assert house.told() == [(Act.PAUSE, Reason.IDLE, "")]
        assert house.events == [("pause", "idle")]

    run(house, story)


@pytest.mark.parametrize(
    ("woken", "why"),
    [
        (Woken(why="traffic", at=1, micros=5), Reason.TRAFFIC),
        (Woken(why="unwatched"), Reason.UNWATCHED),
        (Woken(why="input"), Reason.INPUT),
        (None, Reason.UNWATCHED),
    ],
)
def test_what_the_helper_tells_wakes_it(woken: Woken | None, why: Reason) -> None:
    house = House()

    async def story() -> None:
        await house.ticks(3)
        house.told()
        house.tell(woken)
        await asyncio.sleep(0.01)
        await house.settle()
        assert not house.frozen
        assert (house.now.state, house.now.idle_since) == (GuestState.RUNNING, 0)
        assert house.told() == [(Act.WAKE, why, "")]
        await house.ticks(2)
        assert house.now.state is GuestState.RUNNING, "it has to be idle again, from the beginning"

    run(house, story)


def test_one_that_cannot_be_frozen_runs_on_and_it_is_told() -> None:
    house = House()
    house.refuses = Conflict("processes do not stop")

    async def story() -> None:
        await house.ticks(3)
        assert house.now.state is GuestState.RUNNING
        assert house.told() == [(Act.PAUSE, Reason.IDLE, "processes do not stop")]
        assert house.events == []

    run(house, story)


def test_a_pause_of_its_users_is_not_ended_by_a_wake() -> None:
    house = House(state=GuestState.PAUSED)
    house.frozen = True

    async def story() -> None:
        await house.ticks(5)
        assert not await house.dozing.wake(ID)
        house.acts = False
        assert house.frozen
        assert house.order == []

    run(house, story)


@pytest.mark.parametrize("frozen", [True, False])
def test_one_that_slept_before_is_listened_for_if_it_still_sleeps(frozen: bool) -> None:
    house = House(state=GuestState.PAUSED, idle_since=time.time_ns())
    house.frozen = frozen

    async def story() -> None:
        await house.ticks(2)
        assert house.order[0] == "watch"
        assert house.now.asleep is frozen

    run(house, story)


def test_time_and_boosts_wake_it() -> None:
    house = House(
        wish=replace(WISH, wake_every=10 * SECOND), state=GuestState.PAUSED,
        idle_since=time.time_ns() - 11 * SECOND,
    )  # fmt: skip

    async def story() -> None:
        await house.ticks(1)
        assert house.told() == [(Act.WAKE, Reason.TIMER, "")]
        await house.ticks(3)
        assert house.now.asleep, "it had nothing to do"
        house.boosted[ID] = 1
        await house.ticks(1)
        assert house.told()[-1] == (Act.WAKE, Reason.BOOST, "")
        await house.ticks(10)
        assert house.now.state is GuestState.RUNNING, "as long as it is boosted"

    run(house, story)


@pytest.mark.parametrize(
    ("asleep_since", "still", "no_more"),
    [
        ("07:30:00", "07:44:59", "07:45:01"),
        ("08:30:00", "07:30:00", "07:46:00"),  # the clock was set back: its time is not lost
    ],
)
def test_its_time_of_day_wakes_it(
    asleep_since: str, still: str, no_more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(
        wish=replace(WISH, wake_at=("Fri 07:45",)), state=GuestState.PAUSED,
        idle_since=at(f"2026-11-27 {asleep_since}"),
    )  # fmt: skip
    house.frozen = True

    async def story() -> None:
        for text, asleep in ((still, True), (no_more, False)):
            monkeypatch.setattr(time, "time_ns", lambda text=text: at(f"2026-11-27 {text}"))
            await house.ticks(2)
            assert house.now.asleep is asleep
        assert house.told() == [(Act.WAKE, Reason.TIMER, "")]

    run(house, story)


@pytest.mark.parametrize("typed", [False, True])
def test_whose_input_is_open_is_listened_to_for_a_while_before_it_is_frozen(
    typed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House()
    house.spec = replace(house.spec, stdin_open=typed)
    monkeypatch.setattr(dozing, "SETTLE", 0.05)

    async def story() -> None:
        await house.ticks(3)
        assert house.typed == [typed]
        assert house.frozen is not typed, "what came just before is read first"
        await asyncio.sleep(0.1)
        await house.settle()
        assert house.order == ["watch", "paused", "freeze"]

    run(house, story)


def at(text: str) -> int:
    """Unix nanoseconds of a local time."""
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


@pytest.mark.parametrize(("check", "asleep"), [(False, False), (True, True)])
def test_a_further_process_is_work_unless_it_is_a_check(check: bool, asleep: bool) -> None:
    house = House()
    house.execs = [SimpleNamespace(started=True, code=None, check=check)]

    async def story() -> None:
        await house.ticks(5)
        assert house.now.asleep is asleep

    run(house, story)


def test_another_wish_wakes_it() -> None:
    house = House()

    async def story() -> None:
        await house.ticks(3)
        guest = house.roster.get(ID)
        spec = replace(guest.spec, idle=IdleWish(action=IdleAction.NEVER))
        await house.roster.save(replace(guest, spec=spec))
        await house.ticks(1)
        assert house.now.state is GuestState.RUNNING

    run(house, story)
