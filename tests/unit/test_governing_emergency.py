"""An emergency of the host's in which acts fail, and its end."""

from __future__ import annotations

import asyncio

import pytest

from fakes.governing import FakeKernel
from member_values import member, step
from wirt.aio import Nursery
from wirt.errors import Unavailable
from wirt.governor.emergency import Alarm
from wirt.governor.journal import Act
from wirt.governor.tree import Claim
from wirt.host.governing import safety
from wirt.host.governing.emergency import Emergency
from wirt.host.governing.member import Member
from wirt.model.guest import GuestClass

MIB = 1 << 20


class Stubborn(FakeKernel):
    """Refuses to freeze or thaw those in ``refuses``."""

    def __init__(self, *names: str) -> None:
        super().__init__(dict.fromkeys(names, 0))
        self.refuses: set[str] = set()

    async def freeze(self, guest_id: str, frozen: bool) -> None:
        if guest_id in self.refuses:
            raise Unavailable(f"{guest_id} does not stop", code="freeze.timeout")
        await super().freeze(guest_id, frozen)


def guests(*names: str) -> tuple[list[Member], dict[str, Claim]]:
    """They are frozen in this order: all the same but for their rank."""
    made = [member(name, oom_rank=rank) for rank, name in enumerate(names)]
    for one in made:
        one.use = 100 * MIB
    return made, {name: Claim() for name in names}


def test_who_cannot_be_frozen_does_not_keep_others_from_it() -> None:
    kernel = Stubborn("a", "b", "c")
    kernel.refuses = {"a"}
    everybody, claims = guests("a", "b", "c")

    async def story() -> None:
        emergency = Emergency(kernel, Nursery("test"))
        told = [await step(emergency, Alarm.LOW, everybody, claims) for _ in range(3)]
        assert kernel.frozen == {"b", "c"}
        assert told[0][0].failure
        assert not everybody[0].frozen
        await step(emergency, Alarm.HARD, everybody, claims)
        kernel.refuses = set()
        assert emergency.next(Alarm.LOW, everybody, claims) is everybody[0], "tried the next time"

    asyncio.run(story())


def test_who_cannot_be_thawed_does_not_keep_others_frozen_and_is_tried_again() -> None:
    kernel = Stubborn("a", "b")
    everybody, claims = guests("a", "b")

    async def story() -> None:
        emergency = Emergency(kernel, Nursery("test"))
        for _ in range(2):
            await step(emergency, Alarm.LOW, everybody, claims)
        kernel.refuses = {"b"}
        for _ in range(2):
            await step(emergency, Alarm.NONE, everybody, claims)
        assert kernel.frozen == {"b"}
        assert safety.plan(everybody, (), None)[0].thaw, "without a governor it goes on"
        kernel.refuses = set()
        await step(emergency, Alarm.NONE, everybody, claims)
        assert not kernel.frozen
        assert not await step(emergency, Alarm.NONE, everybody, claims)

    asyncio.run(story())


def test_whom_another_governor_froze_goes_on_too() -> None:
    kernel = Stubborn("a", "b")
    everybody, claims = guests("a", "b")
    kernel.frozen = {"a", "b"}
    for one in everybody:
        one.frozen = True  # as read from the kernel

    async def story() -> None:
        emergency = Emergency(kernel, Nursery("test"))
        assert not await step(emergency, Alarm.LOW, everybody, claims), "all are frozen"
        for _ in range(2):
            await step(emergency, Alarm.HARD, everybody, claims)

    asyncio.run(story())
    assert not kernel.frozen
    assert not any(one.frozen for one in everybody)


def test_a_pause_of_its_user_is_not_undone() -> None:
    kernel = Stubborn("a")
    everybody, claims = guests("a")

    async def story() -> None:
        emergency = Emergency(kernel, Nursery("test"))
        await step(emergency, Alarm.LOW, everybody, claims)
        everybody[0].frozen = False  # as the roll says of those whom their users have paused
        await step(emergency, Alarm.NONE, everybody, claims)
        assert kernel.frozen == {"a"}

    asyncio.run(story())


@pytest.mark.parametrize(("reserved", "ended"), [(0, ["large"]), (200, [])])
def test_one_ends_when_freezing_did_not_help(
    monkeypatch: pytest.MonkeyPatch, reserved: int, ended: list[str]
) -> None:
    monkeypatch.setattr(safety, "HOPELESS", 0.0)
    kernel = FakeKernel({"large": 0, "desk": 0})
    desk = member("desk", guest_class=GuestClass.INTERACTIVE)
    large = member("large")
    desk.use, large.use = 100 * MIB, 150 * MIB
    claims = {
        "desk": Claim(reservation=100 * MIB),
        "large": Claim(reservation=reserved * MIB),
    }

    async def story() -> list[Act]:
        emergency = Emergency(kernel, Nursery("test"))
        told = [await step(emergency, Alarm.LOW, [desk, large], claims) for _ in range(2)]
        return [change.act for changes in told for change in changes]

    acts = asyncio.run(story())
    assert kernel.killed == ended
    assert acts == ([Act.PAUSE, Act.REFUSE] if ended else [])


def test_ticks_go_on_while_somebody_does_not_stop() -> None:
    class Slow(FakeKernel):
        """Freezes and thaws when ``free`` is set."""

        def __init__(self) -> None:
            super().__init__({"a": 0, "b": 0})
            self.free = asyncio.Event()

        async def freeze(self, guest_id: str, frozen: bool) -> None:
            await self.free.wait()
            await super().freeze(guest_id, frozen)

    everybody, claims = guests("a", "b")

    async def story() -> None:
        kernel = Slow()
        emergency = Emergency(kernel, Nursery("test"))
        for _ in range(3):
            assert not await step(emergency, Alarm.LOW, everybody, claims)
        assert [one.frozen for one in everybody] == [True, False], "one at a time"
        assert safety.plan(everybody, (), None)[0].thaw, "whenever all ends, it goes on"
        assert emergency.next(Alarm.LOW, everybody, claims) is None
        kernel.free.set()
        (told,) = await step(emergency, Alarm.LOW, everybody, claims)
        assert (told.guest, told.act) == ("a", Act.PAUSE)
        kernel.free.clear()
        assert not await step(emergency, Alarm.NONE, everybody, claims)
        assert everybody[0].frozen, "not before it is thawed"
        kernel.free.set()
        await step(emergency, Alarm.NONE, everybody, claims)
        assert not everybody[0].frozen

    asyncio.run(story())
