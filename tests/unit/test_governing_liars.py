"""Machines that lie, that say nothing, and figures that cannot be: what is believed of them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from unit.test_governing_machines import CLAIMS, MIB, SIZE, Machine, goal, member, play
from wirt.governor.decide import State, decide
from wirt.governor.estimate import Tuning
from wirt.governor.journal import Act
from wirt.governor.movement import Reason
from wirt.governor.observe import Seen, Tick
from wirt.governor.tree import Claim, Group, Resource
from wirt.governor.tree import Member as Leaf
from wirt.host.governing import observe
from wirt.host.governing.inside import DOUBT, SILENT, Inside, believed, seen, usual
from wirt.host.governing.machines import Machines
from wirt.host.governing.member import Member
from wirt.host.governing.roll import fixed
from wirt.model.reading import InnerMemory, Reading

SECOND = 10**9
QEMU = usual(SIZE)
Settle = Callable[[], Awaitable[None]]


def lying(*, says: int, holds: int) -> Inside:
    """One whose balloon said for long that it left its guest ``says`` of the ``holds`` bytes."""
    made = Inside()
    for second in range(round(DOUBT) + 2):
        made.told(InnerMemory(size=says, available=says // 2, age=0.0), 100.0 + second)
        made.weighed(holds + QEMU, SIZE, 100.1 + second)
    return made


def test_a_balloon_that_gave_nothing_is_found_out_by_what_the_host_sees() -> None:
    made = Inside()
    told = InnerMemory(size=128 * MIB, available=100 * MIB, age=0.0)
    held = 700 * MIB + QEMU
    made.told(told, 100.0)
    made.weighed(held, SIZE, 100.0)
    made.weighed(held, SIZE, 109.0)
    assert not made.hidden, "it may have given way since it was asked"
    made.told(told, 109.0)
    made.weighed(held, SIZE, 109.1)
    assert (made.hidden, made.holds) == (572 * MIB, 700 * MIB)
    assert made.committed(SIZE) == 700 * MIB, "nobody else can have that"
    found = seen(Seen(cpu=5, memory=held, anon=held), made, 109.2)
    assert (found.cpu, found.blind, found.memory_limit) == (5, True, 700 * MIB)
    assert found.anon == 700 * MIB, "which is what it keeps, and counts as its own"
    made.told(replace(told, size=690 * MIB), 110.0)
    made.weighed(held, SIZE, 110.1)
    assert not made.hidden, "it tells the truth"
    assert not seen(Seen(), made, 110.2).blind


@pytest.mark.parametrize("over", [0, 20, 120])
def test_an_honest_balloon_is_believed(over: int) -> None:
    made = lying(says=128 * MIB, holds=(128 + over) * MIB)
    assert not made.hidden
    made.weighed(None, SIZE, 200.0)
    assert not made.hidden, "unknown is no lie"


def test_who_gave_way_for_its_own_need_is_no_liar() -> None:
    """While memory is not short it is asked every ten seconds only."""
    made = Inside()
    made.told(InnerMemory(size=128 * MIB, available=MIB), 100.0)
    for second in range(10):
        made.weighed(500 * MIB + QEMU, SIZE, 100.0 + second)
    made.told(InnerMemory(size=510 * MIB, available=MIB), 110.0)
    made.weighed(500 * MIB + QEMU, SIZE, 110.1)
    assert (made.hidden, made.doubted) == (0, None)


def test_neighbours_do_not_pay_for_a_lie() -> None:
    """What it hides is not taken from what all share first and then given to it once more."""
    liar = member("liar", Machine())
    liar.inside = lying(says=128 * MIB, holds=400 * MIB)
    liar.before = Reading(at=1, anon=400 * MIB + QEMU)
    root = Group(
        name="",
        children=tuple(
            Leaf(name=n, claims={Resource.MEMORY: Claim(limit=SIZE)}) for n in ("liar", "honest")
        ),
    )
    capacity = SIZE - fixed(root, {"liar": liar, "honest": member("honest")})
    assert capacity == SIZE - QEMU
    state = State()
    for _ in range(10):
        guests = {
            "liar": seen(Seen(cpu=0), liar.inside, 106.0),
            "honest": Seen(memory=300 * MIB, memory_limit=301 * MIB, refaults=5000.0),
        }
        decision = decide(
            state, Tick(seconds=1.0, guests=guests), root, capacity=capacity, reserve=0,
            tuning=Tuning(),
        )  # fmt: skip
        state = decision.state
    assert decision.reasons["liar"] is Reason.BLIND
    assert decision.memory.members["honest"] >= capacity - 400 * MIB - MIB


def test_a_liar_is_told_about_now_and_then_and_asked_for_nothing_but_the_truth() -> None:
    machine = Machine(stubborn=True)
    machine.left = 128 * MIB
    liar = member("a", machine)
    liar.inside = lying(says=128 * MIB, holds=400 * MIB)

    async def story(all_: Machines, settle: Settle) -> None:
        assert liar.inside is not None
        for second in range(100):
            liar.stuck -= 1.0
            all_.move({"a": liar}, CLAIMS, goal("a", a=(second % 2) * SIZE), free=SIZE)
            await settle()
        told = all_.take_done()
        assert {(one.act, one.reason) for one in told} == {(Act.REFUSE, Reason.STUCK)}
        assert len(told) == 7, "after 1, 2, 4... seconds"
        assert "leaves it 128 MiB, but it holds 400 MiB" in told[0].failure
        assert machine.orders == [400 * MIB] * 7
        machine.stubborn, machine.left = False, 400 * MIB
        now = time.monotonic()
        liar.inside.told(InnerMemory(size=400 * MIB, available=300 * MIB, age=0.0), now)
        liar.inside.weighed(400 * MIB + QEMU, SIZE, now)
        all_.ask([liar], short=True)
        assert (liar.backoff, liar.stuck) == (1.0, 0.0)
        liar.inside.ordered = 0.0
        all_.move({"a": liar}, CLAIMS, goal(a=0), free=0)
        await settle()
        assert machine.left < 400 * MIB, "it is one of all"

    play(story)


def test_a_guest_that_tells_nothing_is_told_about_and_keeps_what_it_has() -> None:
    class Dumb(Machine):
        async def inner_memory(self) -> InnerMemory:
            return InnerMemory(size=SIZE)

    one = member("a", Dumb())

    async def story(all_: Machines, settle: Settle) -> None:
        async def ask(*, after: float, short: bool = True) -> list[Act]:
            assert one.inside is not None
            one.inside.at -= after
            one.inside.spoke -= after
            one.stuck -= after
            all_.ask([one], short=short)
            await settle()
            return [change.act for change in all_.take_done() if change.reason is Reason.BLIND]

        one.inside = Inside()
        assert await ask(after=0) == []
        assert await ask(after=SILENT - 1) == [], "it may be booting"
        assert await ask(after=11, short=False) == [], "nobody wants anything of it"
        assert await ask(after=0) == [Act.REFUSE]
        assert await ask(after=0.5) == []
        assert await ask(after=0.6) == [Act.REFUSE]
        assert await ask(after=1.1) == [], "less and less often"
        all_.move({"a": one}, CLAIMS, goal(a=0), free=0)
        await settle()
        assert cast(Any, one.live.handle).orders == []
        one.frozen = True
        assert await ask(after=5 * SILENT) == []
        one.frozen = False
        assert await ask(after=1) == [], "who stands still cannot tell"

    play(story)


def test_no_more_than_was_given_is_believed_of_a_machine() -> None:
    """Its QEMU may have been taken over, and would leave nothing to its neighbours."""
    machine = Machine(uses=10**15)
    machine.left = 10**18
    one = member("a", machine)
    one.size = SIZE

    async def story(all_: Machines, settle: Settle) -> None:
        all_.ask([one], short=True)
        await settle()
        assert all_.committed([one], CLAIMS) == SIZE
        assert one.inside is not None
        assert seen(Seen(), one.inside, time.monotonic()).blind

    play(story)
    honest = InnerMemory(size=MIB, available=5)
    assert believed(honest, SIZE) is believed(honest, None) is honest
    grown = InnerMemory(size=2 * SIZE, available=SIZE, cache=3 * SIZE)
    assert believed(grown, SIZE) == InnerMemory(size=SIZE, available=SIZE)


def test_a_machine_that_has_just_ended_is_nobodys_error() -> None:
    machine = Machine()
    one: Member = member("a", machine)
    one.inside = Inside(memory=InnerMemory(size=200 * MIB, available=MIB))

    async def story(all_: Machines, settle: Settle) -> None:
        assert all_.committed([one], {}) == 200 * MIB
        all_.loosen({"a": one}, {})
        machine.failing = True
        all_.move({"a": one}, CLAIMS, goal(a=SIZE), free=SIZE)
        await settle()
        assert one.inside is not None
        assert (one.inside.memory, one.inside.rate) == (None, None)
        assert [c.reason for c in all_.take_done()] == [Reason.HEADROOM, Reason.BLIND]
        all_.move({"a": one}, CLAIMS, goal(a=SIZE), free=SIZE)
        assert not all_.take_done(), "and nothing more is asked of it"

    play(story)


@pytest.mark.parametrize("counter", ["swapped_in", "major"])
@pytest.mark.parametrize("then", [0, 2**62])
def test_counters_of_a_guest_that_jump_are_no_rate(counter: str, then: int) -> None:
    made, figures = Inside(), InnerMemory(size=SIZE, available=SIZE // 2, age=0.0)
    rates = []
    for at, value in ((1.0, 4096), (2.0, then), (3.0, then + 8192)):
        made.told(replace(figures, **cast(Any, {counter: value})), at)
        rates.append(made.rate)
    assert rates[:2] == [None, None]
    assert rates[2] == (2.0 if counter == "swapped_in" else 8192.0), "the next one is right"
    assert seen(Seen(), made, 3.1).refaults == rates[2]


COUNTERS = {
    "cpu_ns": "cpu", "wait_ns": "cpu_wait", "refaults": "refaults", "disk_read": "disk",
    "disk_written": "disk", "net_in": "net_in", "net_out": "net_out",
}  # fmt: skip


@pytest.mark.parametrize("then", [0, 2**63])
@pytest.mark.parametrize("counter", COUNTERS)
def test_counters_that_jump_are_unknown_once(counter: str, then: int) -> None:
    other = "disk_written" if counter == "disk_read" else "disk_read"
    numbers = {name: 10**6 for name in COUNTERS if name != other or "disk" not in counter}
    first = Reading(at=0, memory=MIB, memory_limit=2 * MIB, **cast(Any, numbers))
    jumped = replace(first, at=SECOND, **cast(Any, {counter: then}))
    after = replace(jumped, at=2 * SECOND, **cast(Any, {counter: then + 1000}))
    told = observe.seen(first, jumped)
    assert getattr(told, COUNTERS[counter]) is None
    assert told.blind is (counter == "refaults")
    told = observe.seen(jumped, after)
    assert not told.blind
    exact = {"cpu_ns": 0, "wait_ns": 0, "net_in": 8000, "net_out": 8000}.get(counter, 1000)
    assert getattr(told, COUNTERS[counter]) == exact


def test_absurd_figures_of_one_leave_its_neighbours_decision_as_it_was() -> None:
    """A decision about others is the same, whatever is read of a guest that nothing is known of."""
    root = Group(
        name="",
        children=tuple(
            Leaf(name=n, claims={Resource.MEMORY: Claim(limit=SIZE)}) for n in ("odd", "a", "b")
        ),
    )
    before = Reading(at=0, cpu_ns=0, refaults=0, memory=200 * MIB, memory_limit=210 * MIB)
    odd = [
        replace(before, at=SECOND, cpu_ns=2**63, refaults=2**63),
        replace(before, at=SECOND, cpu_ns=-(2**63), refaults=-1),
        Reading(at=SECOND),
    ]
    made = []
    for reading in odd:
        guests = {
            "odd": observe.seen(before, reading),
            "a": Seen(cpu=500, memory=300 * MIB, memory_limit=301 * MIB, refaults=900.0),
            "b": Seen(cpu=5, memory=300 * MIB, memory_limit=301 * MIB, refaults=0.0),
        }
        state = State()
        for _ in range(20):
            decision = decide(
                state, Tick(seconds=1.0, guests=guests), root, capacity=SIZE, reserve=0,
                tuning=Tuning(),
            )  # fmt: skip
            state = decision.state
        made.append({n: decision.memory.members[n] for n in "ab"})
    assert made[0] == made[1]
    assert made[0]["a"] >= 300 * MIB
    assert all(sum(one.values()) <= SIZE for one in made)
