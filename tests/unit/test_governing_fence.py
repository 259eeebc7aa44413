"""Who is held to a limit, who is fenced, who stands still: version 1's hard limits."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fakes.governing import FakeKernel
from member_values import goal, member
from wirt.aio import Nursery
from wirt.governor.journal import Act, Change
from wirt.governor.movement import Reason, margin
from wirt.host.governing import cushion, fence, observe
from wirt.host.governing.member import Member
from wirt.host.governing.memory import Mover
from wirt.model.guest import GuestState
from wirt.model.reading import Reading

MIB = 1 << 20
SECOND = 10**9


def test_who_cannot_be_held_is_fenced_by_what_others_keep() -> None:
    """So that a bomb ends in its own group, and a growing guest meets no limit too early."""
    bomb, calm, small = member("bomb"), member("calm"), member("small", own=64 * MIB)
    for one, use, revocable in ((bomb, 100, 0), (calm, 200, 50), (small, 40, 0)):
        one.use, one.revocable = use * MIB, revocable * MIB
    keeps = {
        "bomb": fence.kept(bomb, 0), "calm": fence.kept(calm, 180 * MIB),
        "small": fence.kept(small, 50 * MIB),
    }  # fmt: skip
    assert keeps == {"bomb": 100 * MIB, "calm": 180 * MIB, "small": 50 * MIB}
    free = {"bomb": bomb, "small": small}
    made = fence.fences(free, keeps, capacity=512 * MIB, least=32 * MIB)
    assert made == {"bomb": (512 - 180 - 50 - 32) * MIB, "small": 64 * MIB}
    made = fence.fences(free, keeps, capacity=300 * MIB, least=32 * MIB)
    assert made["bomb"] == 100 * MIB, "what it holds already stays its"
    made = fence.fences({"calm": calm}, keeps, capacity=300 * MIB, least=32 * MIB)
    assert made["calm"] == 200 * MIB
    calm.use = 60 * MIB
    made = fence.fences({"calm": calm}, keeps, capacity=300 * MIB, least=32 * MIB)
    assert made["calm"] == 180 * MIB, "and what is promised, beside any bomb"


def test_a_first_fence_is_what_others_do_not_keep() -> None:
    keeps = (100 * MIB, 50 * MIB + 17)
    assert fence.first(keeps, 0, capacity=300 * MIB, least=32 * MIB) == 118 * MIB - 4096
    assert fence.first(keeps, 130 * MIB, capacity=300 * MIB, least=32 * MIB) == 130 * MIB
    assert fence.first(keeps, 0, capacity=150 * MIB, least=32 * MIB) == fence.FIRST


def test_a_first_fence_is_no_holding() -> None:
    """Who gets caches is held to what it is entitled to at once, and nobody has to wait for its
    fence to come down step by step."""
    kernel = FakeKernel({"new": 30 * MIB})
    kernel.limits["new"] = 200 * MIB
    new = member("new")
    new.use, new.limit, new.fenced = 30 * MIB, 200 * MIB, True

    async def story() -> None:
        mover = Mover(kernel, Nursery("test"))
        await mover.move({"new": new}, goal({"new": 60 * MIB}, 300 * MIB), seconds=0.2)

    asyncio.run(story())
    assert new.limit == 60 * MIB
    assert not new.fenced


@pytest.mark.parametrize(
    ("limit", "entitled", "reason", "told"),
    [
        (200, 60, Reason.BLIND, [(Act.SHRINK, 200, 60, Reason.RESERVATION)]),
        (200, 300, Reason.BLIND, [(Act.GROW, 200, 300, Reason.RESERVATION)]),
        (None, 60, Reason.HUNGRY, [(Act.SHRINK, None, 60, Reason.RESERVATION)]),
    ],
)
def test_of_a_newcomer_is_told_what_was_there(
    limit: int | None, entitled: int, reason: Reason, told: list[object]
) -> None:
    """It once had been lowered from what there is for all, since nothing was known about it."""
    kernel = FakeKernel({"new": 30 * MIB})
    new = member("new")
    new.use, new.fenced = 30 * MIB, limit is not None
    new.limit = None if limit is None else limit * MIB
    wanted = replace(goal({"new": entitled * MIB}, 300 * MIB), reasons={"new": reason})

    async def story() -> list[Change]:
        mover = Mover(kernel, Nursery("test"))
        await mover.move({"new": new}, wanted, seconds=0.2)
        return mover.take_done()

    def mib(size: int | None) -> int | None:
        return None if size is None else size // MIB

    found = [(c.act, mib(c.before), mib(c.after), c.reason) for c in asyncio.run(story())]
    assert found == told


def test_a_fence_kills_and_does_not_make_wait() -> None:
    kernel = FakeKernel({"bomb": 100 * MIB}, anon={"bomb": 100 * MIB})
    bomb = member("bomb")
    bomb.use, bomb.revocable, bomb.waits = 100 * MIB, 0, True
    wanted = goal({"bomb": 50 * MIB}, 300 * MIB)

    async def story() -> None:
        mover = Mover(kernel, Nursery("test"))
        await mover.move({"bomb": bomb}, replace(wanted, keeps={"bomb": 100 * MIB}), seconds=0.2)
        assert bomb.fenced
        assert bomb.waits is False
        assert bomb.limit == 300 * MIB - margin(300 * MIB)
        (told,) = mover.take_done()
        assert (told.act, told.reason, told.after) == (Act.LIMIT, Reason.FENCE, bomb.limit)
        await mover.feed(bomb)
        assert not mover.take_done(), "nobody feeds it at its fence"
        await mover.loosen([bomb])
        assert not bomb.fenced

    asyncio.run(story())


def test_only_who_has_a_cushion_of_caches_is_held_to_a_hard_limit() -> None:
    capacity = 512 * MIB
    least = margin(capacity)
    assert least == 32 * MIB

    def one(
        name: str, use: int, file: int, limit: int | None = None, *, v2: bool = False
    ) -> Member:
        found = member(name)
        found.v2 = v2
        found.use, found.limit = use * MIB, None if limit is None else limit * MIB
        found.revocable = file * MIB
        return found

    new = member("new")
    new.revocable = 0
    members = {
        "reader": one("reader", 100, 90),
        "writer": one("writer", 100, 1),
        "was held": one("was held", 50, 17, 60),
        "no more": one("no more", 50, 15, 60),
        "soft": one("soft", 50, 0, v2=True),
        "new": new,
    }
    found = cushion.sort(members, capacity)
    assert set(found.held) == {"reader", "was held", "soft"}
    assert set(found.free) == {"writer", "no more", "new"}
    assert found.capacity == capacity - (100 + 32 + 50 + 32 + 32) * MIB
    assert cushion.sort({"writer": one("writer", 900, 1)}, capacity).capacity == 0
    assert (margin(0), margin(1 << 40)) == (16 * MIB, 64 * MIB)


def test_who_sleeps_needs_no_room_to_grow() -> None:
    asleep = member("asleep")
    asleep.use, asleep.revocable = 10 * MIB, 0
    status = replace(asleep.guest.status, state=GuestState.PAUSED, idle_since=1)
    asleep.guest = replace(asleep.guest, status=status)
    assert cushion.sort({"asleep": asleep}, 512 * MIB).capacity == (512 - 10) * MIB


def test_a_guest_at_its_limit_stands_still_only_when_nothing_can_be_taken_from_it() -> None:
    """Where there is swap every growth meets the limit, and goes on."""
    before = Reading(at=0, refaults=0, failures=3)
    now = Reading(
        at=SECOND, refaults=0, failures=9, memory=100 * MIB, memory_limit=100 * MIB,
        anon=99 * MIB,
    )  # fmt: skip
    assert observe.seen(before, now).under_oom
    assert observe.seen(before, now, revocable=5 * MIB).under_oom
    assert not observe.seen(before, now, revocable=40 * MIB).under_oom
    assert not observe.seen(before, replace(now, failures=3)).under_oom
    assert observe.seen(before, replace(now, under_oom=True), revocable=40 * MIB).under_oom
