"""Machines under the governor: believed within bounds, never squeezed beyond what they need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waiting import eventually
from wirt.aio import Nursery
from wirt.errors import Unavailable
from wirt.governor.journal import Act
from wirt.governor.movement import Reason
from wirt.governor.observe import Seen, Tick
from wirt.governor.tree import Claim, Group, Resource
from wirt.governor.tree import Member as Leaf
from wirt.host.governing import policy, safety, short
from wirt.host.governing.inside import FRESH, STUCK_AFTER, Inside, margin, overhead, seen
from wirt.host.governing.machines import Machines, fitting
from wirt.host.governing.member import UNKNOWN, Member
from wirt.host.governing.memory import Goal
from wirt.host.governing.roll import fixed
from wirt.model.guest import Guest, GuestSpec, GuestState, GuestStatus, Isolation
from wirt.model.reading import InnerMemory, Reading
from wirt.model.resources import Resources

MIB = 1 << 20
SIZE = 1024 * MIB
CLAIMS = {"a": Claim(limit=SIZE), "b": Claim(limit=SIZE)}


class Machine:
    """In place of a handle: a guest that uses so much, and follows unless it is ``stubborn``."""

    def __init__(self, *, uses: int = 100 * MIB, stubborn: bool = False) -> None:
        self.left, self.uses, self.stubborn = SIZE, uses, stubborn
        self.orders: list[int] = []
        self.rates: list[int] = []
        self.asked = 0
        self.failing = False

    async def inner_memory(self) -> InnerMemory:
        self.asked += 1
        if self.failing:
            raise Unavailable("it does not answer")
        return InnerMemory(size=self.left, available=max(self.left - self.uses, 0), age=0.0)

    async def set_inner_memory(self, size: int) -> None:
        self.orders.append(size)
        if not self.stubborn:
            self.left = max(size, self.uses)

    async def limit(self, wish: Resources) -> None:
        assert wish.io_limit is not None
        self.rates.append(wish.io_limit)


def member(
    name: str, machine: object = None, *, state: GuestState = GuestState.RUNNING, **spec: Any
) -> Member:
    kind = Isolation.MICROVM if machine is not None else Isolation.CONTAINER
    guest = Guest(
        id=name, name=name, spec=GuestSpec(image="x", isolation=kind, **spec), created_at=0,
        status=GuestStatus(state=state), image_id="x",
    )  # fmt: skip
    live = type("Live", (), {"handle": machine})()
    return Member(guest=guest, live=cast(Any, live), readings=cast(Any, None), v2=False)


def goal(hungry: str = "", **entitled: int) -> Goal:
    reasons = dict.fromkeys(entitled, Reason.HEADROOM)
    return Goal(
        entitled=entitled, capacity=4 * SIZE, reasons=reasons, hungry=frozenset(hungry), inputs={}
    )


def play(story: Callable[[Machines, Callable[[], Awaitable[None]]], Awaitable[None]]) -> None:
    """Run a story that is given machines and a way to wait for all that they began."""

    async def run() -> None:
        nursery = Nursery("test")

        async def settle() -> None:
            await eventually(lambda: not len(nursery), "all has been said")

        await story(Machines(nursery), settle)
        await nursery.close()
        assert not nursery.failures

    asyncio.run(run())


def _again(*members: Member) -> None:
    """As if the next question were due, and what was told were newer than any order."""
    for one in members:
        one.inside = one.inside or Inside()
        one.inside.at = one.inside.ordered = time.monotonic() - 5


async def taken(all_: Machines, one: Member, settle: Callable[[], Awaitable[None]]) -> None:
    """A tick in which all that can be taken from it is to be."""
    _again(one)
    all_.ask([one], short=True)
    await settle()
    all_.move({"a": one}, CLAIMS, goal(a=0), free=0)
    await settle()


def test_memory_is_seen_as_the_guest_tells_it_and_the_rest_from_outside() -> None:
    outside = Seen(cpu=500, memory=900 * MIB, anon=900 * MIB, refaults=3.0, disk=7)
    inside = Inside()
    now = time.monotonic()
    told = InnerMemory(
        size=SIZE, available=800 * MIB, cache=600 * MIB, swapped_in=0, major=10, age=1.0
    )
    inside.told(told, now - 2)
    inside.told(InnerMemory(size=SIZE, available=800 * MIB, cache=600 * MIB, swapped_in=8192 * 10,
                            major=50), now)  # fmt: skip
    found = seen(outside, inside, now)
    assert (found.cpu, found.disk) == (500, 7)
    assert found.memory == 224 * MIB + 256 * MIB, "a quarter of it may be cache"
    assert found.memory_limit == SIZE
    assert found.margin == margin(SIZE) == 128 * MIB
    assert found.anon == 224 * MIB + 128 * MIB
    assert found.refaults == 30.0
    assert not found.under_oom
    assert seen(outside, inside, now + FRESH + 1).blind, "old figures are none"
    inside.told(InnerMemory(size=SIZE, available=50 * MIB), now)
    assert seen(outside, inside, now).under_oom
    inside.told(InnerMemory(size=SIZE), now)
    assert seen(outside, inside, now).blind
    assert inside.least(now) is None


def test_what_a_guest_has_touched_since_it_told_is_seen_from_outside() -> None:
    inside = Inside()
    sizes = ((0.0, 500), (0.8, 560), (1.0, 540), (1.2, 600), (1.4, 640))
    for at, mib in sizes[:3]:
        inside.looked(mib * MIB, at)
    inside.told(InnerMemory(size=SIZE, available=800 * MIB, age=0.3), 1.0)
    for at, mib in sizes[3:]:
        inside.looked(mib * MIB, at)
        found = seen(Seen(memory=mib * MIB), inside, at)
        assert found.memory == 224 * MIB + (mib - 540) * MIB
        assert found.anon == found.memory + margin(SIZE)
    assert not found.under_oom, "that only its own word tells"
    inside.told(InnerMemory(size=SIZE, available=700 * MIB, age=0.0), 1.5)
    assert seen(Seen(memory=640 * MIB), inside, 1.6).memory == 324 * MIB, "it has told anew"


def test_a_balloon_that_only_claims_to_be_full_counts_as_overhead() -> None:
    assert overhead(SIZE, use=500 * MIB, left=SIZE) == 96 * MIB + SIZE // 100
    assert overhead(SIZE, use=1100 * MIB, left=128 * MIB) == 972 * MIB
    liar = member("a", Machine())
    liar.inside = Inside(memory=InnerMemory(size=128 * MIB))
    liar.before = Reading(at=1, anon=1100 * MIB)
    root = Group(name="", children=(Leaf(name="a", claims={Resource.MEMORY: CLAIMS["a"]}),))
    assert fixed(root, {"a": liar}) == 972 * MIB
    liar.inside = Inside()
    liar.use = 5 * SIZE
    assert fixed(root, {"a": liar}) == SIZE, "without its word it has its size"


def test_a_machine_shrinks_in_steps_and_never_below_what_it_needs() -> None:
    machine = Machine(uses=300 * MIB)
    one = member("a", machine)

    async def story(all_: Machines, settle: Callable[[], Awaitable[None]]) -> None:
        all_.ask([one], short=True)
        await settle()
        for _ in range(8):
            await taken(all_, one, settle)
        assert machine.orders[0] == 512 * MIB, "half of it at most, until it has told anew"
        assert machine.orders[-1] == machine.left == 428 * MIB, "a margin stays"
        assert len(machine.orders) == 2, "and then it is still"
        assert {change.act for change in all_.take_done()} == {Act.SHRINK}
        claims = {"a": Claim(reservation=600 * MIB, limit=SIZE)}
        all_.move({"a": one}, claims, goal(a=0), free=SIZE)
        await settle()
        assert machine.left == 600 * MIB, "what is promised comes back"

    play(story)


def test_a_machine_is_asked_for_more_by_what_it_told_before_it_began_to_move() -> None:
    """Its next figures may be two seconds away, and mix what it had with what it has."""
    machine = Machine(uses=300 * MIB)
    one = member("a", machine)

    async def story(all_: Machines, settle: Callable[[], Awaitable[None]]) -> None:
        all_.ask([one], short=True)
        await settle()
        assert one.inside is not None
        _again(one)
        one.inside.at = time.monotonic()
        all_.move({"a": one}, CLAIMS, goal(a=900 * MIB), free=0)
        await settle()
        one.inside.told(
            InnerMemory(size=960 * MIB, available=SIZE - 300 * MIB, age=1.0), time.monotonic()
        )
        assert one.inside.outdated
        assert one.inside.least(time.monotonic()) == 428 * MIB
        all_.move({"a": one}, CLAIMS, goal(a=600 * MIB), free=0)
        await settle()
        assert machine.orders == [900 * MIB, 600 * MIB]
        one.inside.told(InnerMemory(size=800 * MIB, available=480 * MIB), time.monotonic())
        assert not one.inside.outdated
        all_.move({"a": one}, CLAIMS, goal(a=450 * MIB), free=0)
        await settle()
        assert machine.orders == [900 * MIB, 600 * MIB], "now it moves, and counts meanwhile"

    play(story)


def test_growing_takes_what_is_free_and_hungry_machines_go_first() -> None:
    pair = {name: member(name, Machine()) for name in "ab"}

    async def story(all_: Machines, settle: Callable[[], Awaitable[None]]) -> None:
        for one in pair.values():
            one.inside = Inside(memory=InnerMemory(size=200 * MIB, available=MIB))
        all_.move(pair, CLAIMS, goal("b", a=400 * MIB, b=500 * MIB), free=350 * MIB)
        assert all_.committed(pair.values(), CLAIMS) == 750 * MIB, "before it is done"
        await settle()
        orders = {name: cast(Any, one.live.handle).orders for name, one in pair.items()}
        assert orders == {"a": [250 * MIB], "b": [500 * MIB]}
        all_.move(pair, CLAIMS, goal(a=400 * MIB, b=500 * MIB), free=-5 * MIB)
        assert all_.committed(pair.values(), CLAIMS) == 750 * MIB

    play(story)


def test_whoever_ignores_its_balloon_is_told_and_left_alone_for_longer_and_longer() -> None:
    machine = Machine(stubborn=True)
    one = member("a", machine)
    backoffs = []

    async def story(all_: Machines, settle: Callable[[], Awaitable[None]]) -> None:
        for _ in range(2):
            one.stuck = 0.0
            for _ in range(STUCK_AFTER + 3):
                await taken(all_, one, settle)
            backoffs.append(one.backoff)
        refused = [change for change in all_.take_done() if change.act is Act.REFUSE]
        assert [change.reason for change in refused] == [Reason.STUCK] * 2
        assert refused[0].failure == "its guest gives back no more"
        assert machine.orders == [512 * MIB, SIZE] * 2, "its balloon is told to try no more"
        machine.stubborn, one.stuck = False, 0.0
        for _ in range(2):
            await taken(all_, one, settle)
            backoffs.append(one.backoff)
        assert machine.left < SIZE

    play(story)
    assert backoffs == [2.0, 4.0, 1.0, 1.0], "it obeys again"


@pytest.mark.parametrize(("hidden", "left"), [(0, 1.0), (MIB, 8.0)])
def test_who_did_not_obey_is_forgiven_once_nobody_wants_anything_of_it(
    hidden: int, left: float
) -> None:
    """But not who lies: that it still does."""
    one = member("a", Machine())
    one.backoff = 8.0

    async def story(all_: Machines, settle: Callable[[], Awaitable[None]]) -> None:
        one.inside = Inside(memory=InnerMemory(size=SIZE, available=MIB), hidden=hidden)
        all_.loosen({"a": one}, CLAIMS)
        await settle()

    play(story)
    assert one.backoff == left


def test_who_does_not_answer_is_asked_no_oftener_and_one_that_is_paused_never() -> None:
    machine, frozen = Machine(), Machine()
    machine.failing = True
    pair = [member("a", machine), member("b", frozen, state=GuestState.PAUSED)]

    async def story(all_: Machines, settle: Callable[[], Awaitable[None]]) -> None:
        for _ in range(5):
            all_.ask(pair, short=True)
            await settle()
        assert (machine.asked, frozen.asked) == (1, 0)
        assert pair[0].inside is not None
        assert pair[0].inside.committed(SIZE) == SIZE, "it may hold all that it has"
        pair[0].inside.order = 500 * MIB
        all_.ask(pair, short=True)
        await settle()
        (told,) = all_.take_done()
        assert (told.act, told.reason, told.failure) == (
            Act.REFUSE, Reason.BLIND, "it does not answer",
        )  # fmt: skip

    play(story)


def test_all_of_it_comes_back_once_when_memory_is_not_short() -> None:
    machine = Machine()
    one = member("a", machine)

    async def story(all_: Machines, settle: Callable[[], Awaitable[None]]) -> None:
        machine.left = 200 * MIB  # by a daemon before this one
        for _ in range(3):
            all_.ask([one], short=False)
            await settle()
            all_.loosen({"a": one}, CLAIMS)
            await settle()
        assert machine.orders == [SIZE]

    play(story)


def test_disks_are_slowed_by_qemu() -> None:
    machine = Machine()
    one = member("a", machine)
    one.disk = UNKNOWN

    async def story(all_: Machines, settle: Callable[[], Awaitable[None]]) -> None:
        for rate in (0, 65_536, 9_000_000, 0):
            all_.slow([one], {"a": rate})
            await settle()
        assert machine.rates == [0, 65_536, 9_000_000, 0]
        acts = [change.act for change in all_.take_done()]
        assert acts == [Act.SHRINK, Act.GROW, Act.GROW]

    play(story)


def test_the_safe_plan_leaves_qemus_memory_and_disks_alone() -> None:
    one = member("a", Machine(), resources=Resources(memory=SIZE, io_limit=5))
    one.limit, one.cpu, one.disk = 2 * SIZE, 5, 9
    (safe,) = safety.plan([one], (), None)
    assert (safe.limit, safe.disk, safe.cpu) == (None, None, 1024)
    assert not one.bounded


def test_memory_is_short_by_what_machines_hold_not_by_what_they_need() -> None:
    one = member("a", Machine())
    one.inside = Inside(memory=InnerMemory(size=SIZE, available=900 * MIB))
    one.before = Reading(at=1, anon=1100 * MIB)
    tick = Tick(seconds=1, guests={"a": Seen(memory=124 * MIB, refaults=0.0)}, free=10 * SIZE)
    shortness = short.Shortness()
    shortness.judge([one], tick, policy=policy.Policy(), reserve=MIB, pool=1100 * MIB)
    assert shortness.now


amounts = st.integers(0, 1000)


@given(
    uses=st.lists(amounts, min_size=1, max_size=5),
    wanted=st.lists(amounts, min_size=5, max_size=5),
    room=st.integers(0, 5000),
)
def test_what_fits_beside_machines(uses: list[int], wanted: list[int], room: int) -> None:
    members = {str(number): member(str(number)) for number in range(len(uses))}
    for one, use in zip(members.values(), uses, strict=True):
        one.use = use
    entitled = {name: wanted[int(name)] for name in members}
    fits = fitting(entitled, members, room, ())
    kept = {name: min(entitled[name], uses[int(name)]) for name in members}
    assert all(kept[name] <= fits[name] <= entitled[name] for name in members)
    assert sum(fits.values()) == max(min(room, sum(entitled.values())), sum(kept.values()))
