"""Where guests of version 2 end, before the pool is full."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.governing import FakeKernel
from member_values import goal, member
from wirt.aio import Nursery
from wirt.governor.journal import Act
from wirt.governor.movement import Reason
from wirt.governor.tree import Claim, Group, Resource
from wirt.governor.tree import Member as Leaf
from wirt.host.governing import line, safety
from wirt.host.governing.member import Member
from wirt.host.governing.memory import Mover
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.privileged import governing
from wirt.privileged.deadman import FILE, Deadman
from wirt.privileged.holds import Hold, Safe

MIB = 1 << 20
POOL = 128 * MIB


def modern(
    name: str, *, use: int = 0, cache: int = 0, settled: int | None = None, own: int | None = None
) -> Member:
    """Holds ``use`` MiB, ``cache`` of them files' caches; has kept ``settled`` for long."""
    made = member(name, own=None if own is None else own * MIB)
    made.v2, made.floor, made.low = True, 0, 0
    made.most = made.own
    made.use, made.revocable = use * MIB, cache * MIB
    made.settled = (use - cache if settled is None else settled) * MIB
    return made


def tree(*members: Member, promised: dict[str, int] | None = None) -> Group:
    return Group(
        name="",
        children=tuple(
            Leaf(
                name=one.guest.id,
                claims={Resource.MEMORY: Claim(reservation=(promised or {}).get(one.guest.id, 0))},
            )
            for one in members
        ),
    )


def drawn(root: Group, *members: Member, capacity: int = POOL, seconds: float = 1.0) -> list[float]:
    """The lines in MiB, in order."""
    named = {one.guest.id: one for one in members}
    found = line.lines(named, root, capacity=capacity, seconds=seconds)
    return [found[one.guest.id] / MIB for one in members]


def test_who_grows_stops_short_of_what_is_left_to_the_others() -> None:
    calm, bomb = modern("calm", use=80), modern("bomb", use=20, settled=0)
    assert drawn(tree(calm, bomb), calm, bomb) == [128 - 20 - 2, 128 - 80 - 8]
    bomb.use, calm.use = 40 * MIB, 82 * MIB
    assert drawn(tree(calm, bomb), calm, bomb) == [128 - 40 - 2, 128 - 82 - 8]


def test_caches_are_anybodys_and_what_is_promised_is_nobody_elses() -> None:
    idle, busy = modern("idle", use=90, cache=88), modern("busy", use=30, cache=20)
    assert drawn(tree(idle, busy), idle, busy) == [128 - 10 - 2, 128 - 2 - 2]
    root = tree(idle, busy, promised={"idle": 24 * MIB})
    assert drawn(root, idle, busy) == [128 - 10 - 2, 128 - 24 - 2]


def test_growth_is_forgotten() -> None:
    one, other = modern("one", use=40, settled=0), modern("other")
    root = tree(one, other)
    assert drawn(root, one, other)[0] == 128 - 8
    for _ in range(40):
        last = drawn(root, one, other)[0]
    assert last == 128 - 2
    one.use = 10 * MIB
    drawn(root, one, other)
    one.use = 14 * MIB
    assert drawn(root, one, other)[0] == 128 - 8, "what it held once is no excuse"


def test_who_is_alone_leaves_as_little_as_who_does_not_grow() -> None:
    """There is nobody to be spared, but keepers."""
    one = modern("one", use=40, settled=0)
    assert drawn(tree(one), one) == [128 - 2]


def test_of_whom_nothing_is_known_what_it_held_counts() -> None:
    gone, other = modern("gone", use=40), modern("other")
    gone.use = None
    assert drawn(tree(gone, other), gone, other)[1] == 128 - 40 - 2


def test_a_groups_limit_ends_its_guests_and_its_own_limit_each() -> None:
    def leaf(name: str) -> Leaf:
        return Leaf(name=name, claims={})

    inner = Group(
        name="lab/x", claims={Resource.MEMORY: Claim(limit=32 * MIB)},
        children=(leaf("a"), leaf("b")),
    )  # fmt: skip
    lab = Group(
        name="lab", claims={Resource.MEMORY: Claim(limit=48 * MIB)}, children=(inner, leaf("c")),
    )  # fmt: skip
    sole = Group(
        name="sole", claims={Resource.MEMORY: Claim(limit=64 * MIB)}, children=(leaf("d"),)
    )
    root = Group(name="", children=(lab, sole, leaf("e")))
    a, b, c = modern("a", use=10, settled=0), modern("b", use=10), modern("c", use=24)
    d, e = modern("d", use=5), modern("e", use=5, own=70)
    assert drawn(root, a, b, c, d, e) == [
        48 - 34 - 3, 48 - 34 - 0.75, 48 - 20 - 0.75, 64, 70,
    ]  # fmt: skip


amounts = st.integers(0, 200)


@settings(max_examples=300, deadline=None)
@given(
    held=st.lists(st.tuples(amounts, amounts, amounts), min_size=2, max_size=6),
    grower=st.integers(0, 5),
)
def test_whoever_alone_grows_to_his_line_leaves_the_others_what_they_keep(
    held: list[tuple[int, int, int]], grower: int
) -> None:
    everybody = [
        modern(f"g{n}", use=use, cache=min(cache, use), settled=min(settled, use))
        for n, (use, cache, settled) in enumerate(held)
    ]
    one = everybody[grower % len(everybody)]
    kept = sum((m.use or 0) - m.revocable for m in everybody if m is not one)
    found = drawn(tree(*everybody), *everybody, capacity=700 * MIB)
    mine = found[everybody.index(one)] * MIB
    assert mine + kept <= max(700 * MIB, kept + line.LEAST)
    assert mine >= line.LEAST


def test_lines_are_written_when_they_matter_those_that_fall_first_and_told() -> None:
    kernel = FakeKernel({"calm": 80 * MIB, "bomb": 20 * MIB})
    calm, bomb = modern("calm", use=80), modern("bomb", use=20, own=100)
    kernel.lines["bomb"] = 100 * MIB
    members = {"calm": calm, "bomb": bomb}
    wanted = goal({"calm": 80 * MIB, "bomb": 48 * MIB}, POOL)

    async def story() -> None:
        mover = Mover(kernel, Nursery("test"))

        async def tick(**lines: int) -> list[str]:
            kernel.order.clear()
            given = {name: size * MIB for name, size in lines.items()}
            await mover.move(members, replace(wanted, lines=given), seconds=1.0)
            return list(kernel.order)

        assert await tick(calm=106, bomb=40) == ["calm", "bomb"]
        assert kernel.lines == {"calm": 106 * MIB, "bomb": 40 * MIB}
        told = [c for c in mover.take_done() if c.reason is Reason.FENCE]
        assert [(c.guest, c.act, c.before, c.after) for c in told] == [
            ("calm", Act.LIMIT, None, 106 * MIB), ("bomb", Act.LIMIT, 100 * MIB, 40 * MIB),
        ]  # fmt: skip
        assert await tick(calm=105, bomb=41) == [], "not worth a write"
        assert await tick(calm=90, bomb=45) == ["calm", "bomb"]
        kernel.lines["bomb"] = 64 * MIB  # its user said so meanwhile
        await tick(calm=90, bomb=30)
        assert kernel.lines["bomb"] == 64 * MIB
        assert bomb.most == 64 * MIB
        await tick()
        assert kernel.lines == {"calm": -1, "bomb": 100 * MIB}, "without a pool"
        await tick(calm=90, bomb=30)
        await mover.loosen([calm, bomb])
        assert kernel.lines == {"calm": -1, "bomb": 100 * MIB}
        assert not calm.lined
        assert not bomb.lined

    asyncio.run(story())


def test_what_its_user_said_is_in_the_safe_plan_before_the_first_line() -> None:
    one, free, old = modern("one", own=100), modern("free"), member("old", own=MIB)
    assert [safe.line for safe in safety.plan([one, free, old], {"one", "free", "old"}, None)] == [
        100 * MIB, -1, None,
    ]  # fmt: skip
    assert one.safe is None
    one.most = 40 * MIB
    assert one.safe is not None
    assert one.safe.line == 100 * MIB


class Kernel:
    """A group's files in a directory."""

    def __init__(self, tmp: Path) -> None:
        self.cgroups = Cgroups(v1={}, v2=tmp, v2_controllers=frozenset({"memory", "cpu"}))
        self._place = tmp / "wt" / ("a" * 64)
        self._place.mkdir(parents=True)

    def set(self, **values: object) -> None:
        for name, value in values.items():
            (self._place / f"memory.{name}").write_text(f"{value}\n")

    @property
    def most(self) -> str:
        return (self._place / "memory.max").read_text().strip()

    def draw(self, line: int, was: int) -> tuple[int | None, str]:
        held = governing.hold(self.cgroups, "/wt/" + "a" * 64, Hold(id="a", line=line, was=was))
        return held.line, held.failure


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    made = Kernel(tmp_path)
    made.set(max="max", current=20 * MIB, high="max")
    return made


def test_a_line_never_falls_to_what_is_in_use_nor_rises_then(kernel: Kernel) -> None:
    """The kernel would begin to kill at once; and a bomb at its line would be led on by it."""
    assert kernel.draw(10 * MIB, -1) == (21 * MIB, "")
    assert kernel.draw(10 * MIB, 21 * MIB) == (21 * MIB, "")
    kernel.set(current=int(20.5 * MIB))
    assert kernel.draw(10 * MIB, 21 * MIB) == (21 * MIB, "")
    kernel.set(current=12 * MIB)
    assert kernel.draw(10 * MIB, 21 * MIB) == (13 * MIB, "")
    assert kernel.draw(30 * MIB, 13 * MIB) == (30 * MIB, "")
    kernel.set(max="")
    assert kernel.draw(-1, -1) == (-1, "")
    assert kernel.most == "max"


def test_what_its_user_wrote_meanwhile_stays(kernel: Kernel) -> None:
    kernel.set(max=50 * MIB)
    assert kernel.draw(30 * MIB, 100 * MIB) == (50 * MIB, "changed meanwhile")
    assert kernel.draw(30 * MIB, -1) == (50 * MIB, "changed meanwhile")
    assert kernel.most == str(50 * MIB)


def test_without_a_governor_the_newest_word_of_its_user_counts(
    tmp_path: Path, kernel: Kernel
) -> None:
    """``update -m`` came after the plan, and the daemon ended before the next one."""
    layout = Layout(name="wt", state=tmp_path, run=tmp_path)
    switch = Deadman(layout, kernel.cgroups)
    plan = Safe(id="a" * 64, limit=-1, line=100 * MIB)
    switch.beat((plan, Safe(id="b" * 64, limit=-1)))
    switch.allowed("a" * 64, 50 * MIB)
    switch.allowed("b" * 64, 50 * MIB)
    kernel.set(max=30 * MIB)
    work = Deadman(layout, kernel.cgroups).heard()
    assert work is not None
    work()
    assert kernel.most == str(50 * MIB)


def test_so_it_does_with_version_1(tmp_path: Path) -> None:
    layout = Layout(name="wt", state=tmp_path, run=tmp_path)
    switch = Deadman(layout, Cgroups(v1={"memory": tmp_path}, v2=None))
    switch.beat((Safe(id="a" * 64, limit=100 * MIB), Safe(id="b" * 64, cpu=5)))
    for name in "ab":
        switch.allowed(name * 64, -1)
    told = json.loads((tmp_path / FILE).read_text())
    assert [one["limit"] for one in told] == [-1, None]
