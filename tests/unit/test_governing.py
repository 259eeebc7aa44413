"""The governor's acts on a kernel made of numbers: order, safety, who is frozen, what is kept."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.governing import FakeKernel
from member_values import goal, member, step
from waiting import eventually
from wirt.aio import Nursery
from wirt.errors import Exhausted, Invalid
from wirt.governor.emergency import Alarm
from wirt.governor.journal import Act, Change, Frame
from wirt.governor.movement import Reason
from wirt.governor.observe import Seen, Tick
from wirt.governor.tree import Claim, Group, Resource
from wirt.governor.tree import Member as Leaf
from wirt.host.governing import disk, observe, policy, ring, safety, short, weigh
from wirt.host.governing.emergency import Emergency
from wirt.host.governing.memory import Mover
from wirt.model.guest import (
    GuestClass,
    GuestState,
)
from wirt.model.reading import Reading
from wirt.model.resources import Resources

MIB = 1 << 20
SECOND = 10**9


amounts = st.integers(0, 400 * MIB)


@settings(max_examples=200, deadline=None)
@given(
    uses=st.lists(amounts, min_size=2, max_size=5),
    anon=st.lists(st.floats(0, 1), min_size=5, max_size=5),
    parts=st.lists(st.integers(1, 100), min_size=5, max_size=5),
)
def test_limits_never_add_up_to_more_than_there_is(
    uses: list[int], anon: list[float], parts: list[int]
) -> None:
    """After any single write, once everybody has a limit; so any end is harmless."""
    names = [f"g{n}" for n in range(len(uses))]
    capacity = sum(uses) + len(uses) * 16 * MIB
    held = {n: int(a * u) for n, a, u in zip(names, anon, uses, strict=False)}
    kernel = FakeKernel(dict(zip(names, uses, strict=True)), anon=held)
    members = {name: member(name) for name in names}
    for name, use in zip(names, uses, strict=True):
        members[name].use = use

    def harmless() -> None:
        if all(limit >= 0 for limit in kernel.limits.values()):
            assert sum(kernel.limits.values()) <= capacity

    async def story() -> None:
        nursery = Nursery("test")
        mover = Mover(kernel, nursery)
        equal = {name: capacity // len(names) // 4096 * 4096 for name in names}
        whole = sum(parts[: len(names)])
        share = {
            n: capacity * p // whole // 4096 * 4096 for n, p in zip(names, parts, strict=False)
        }
        await mover.move(members, goal(dict.fromkeys(names, 0), capacity), seconds=0.2)
        kernel.after_write = harmless
        for _ in range(3):
            for entitled in (equal, share):
                await mover.move(members, goal(entitled, capacity), seconds=0.2)
                await eventually(lambda: not mover.busy, "it is squeezed")
        await nursery.close()

    asyncio.run(story())
    for name, limit in kernel.limits.items():
        assert limit >= kernel.anon[name] or limit == -1, "nobody lost what cannot be taken back"
        assert kernel.waits[name], "whoever has less than its own limit waits at it"


def test_whoever_gives_nothing_back_is_left_alone_but_for_what_it_does_not_use() -> None:
    kernel = FakeKernel({"a": 300 * MIB, "b": MIB}, anon={"a": 300 * MIB})
    members = {"a": member("a"), "b": member("b")}
    members["a"].use, members["b"].use = 300 * MIB, MIB

    async def story() -> None:
        nursery = Nursery("test")
        mover = Mover(kernel, nursery)
        wanted = goal({"a": 100 * MIB, "b": 400 * MIB}, 512 * MIB)
        for _ in range(3):
            await mover.move(members, wanted, seconds=0.2)
            await eventually(lambda: not mover.busy, "it is squeezed")
        assert kernel.limits["a"] >= 300 * MIB
        assert members["a"].backoff > 1
        kernel.uses["a"] = members["a"].use = 10 * MIB
        for _ in range(6):
            await mover.move(members, wanted, seconds=0.2)
        assert kernel.limits["a"] == 100 * MIB, "what it freed goes to others at once"
        assert kernel.limits["b"] > 390 * MIB
        await mover.loosen([members["a"]])
        assert members["a"].backoff == 1, "nothing is wanted of it any more"
        await nursery.close()

    asyncio.run(story())


def test_a_guest_that_met_its_own_limit_is_the_kernels() -> None:
    one = member("a", own=100 * MIB)
    one.limit, one.starving = 100 * MIB, 5.0
    assert safety.hopeless(one, 5.1)
    one.limit = 50 * MIB
    assert not safety.hopeless(one, 5.0 + safety.STARVING - 0.1), "others may still give"
    assert safety.hopeless(one, 5.0 + safety.STARVING + 0.1)
    kernel = FakeKernel({"a": 50 * MIB})
    kernel.waits["a"] = True

    async def story() -> None:
        await Mover(kernel, Nursery("test")).kill_again(one)

    asyncio.run(story())
    assert not kernel.waits["a"]


def test_the_safe_plan_is_what_the_user_said() -> None:
    free, limited, calm = member("a"), member("b", own=64 * MIB), member("c")
    free.limit = limited.limit = 32 * MIB
    calm.cpu = 1024
    plan = {one.id: one.limit for one in safety.plan([free, limited, calm], (), None)}
    assert plan == {"a": -1, "b": 64 * MIB}
    assert [one.id for one in safety.plan([calm], {"c"}, None)] == ["c"]
    assert safety.plan([calm], (), calm)[0].thaw


def test_frozen_are_batch_first_then_by_rank_and_never_who_keeps_to_its_promise() -> None:
    batch = member("batch", guest_class=GuestClass.BATCH, oom_rank=900)
    low, high = member("low", oom_rank=10), member("high", oom_rank=700)
    kept = member("kept", oom_rank=0)
    desk = member("desk", guest_class=GuestClass.INTERACTIVE, oom_rank=0)
    everybody = [high, desk, kept, low, batch]
    claims = {one.guest.id: Claim() for one in everybody}
    claims["kept"] = Claim(reservation=100 * MIB)
    for one in everybody:
        one.use = 100 * MIB
    order = [one.guest.id for one in safety.freezing_order(everybody, claims)]
    assert order == ["batch", "low", "high"]
    kernel = FakeKernel({one.guest.id: 0 for one in everybody})

    async def story() -> None:
        emergency = Emergency(kernel, Nursery("test"))
        for _ in range(5):
            await step(emergency, Alarm.LOW, everybody, claims)
        assert kernel.frozen == {"batch", "low", "high"}
        await step(emergency, Alarm.HARD, everybody, claims)
        assert kernel.frozen == {"batch", "low"}, "the last one frozen goes on first"
        for _ in range(3):
            await step(emergency, Alarm.NONE, everybody, claims)
        assert not kernel.frozen

    asyncio.run(story())
    assert not kernel.killed


def test_nobody_is_squeezed_while_there_is_enough() -> None:
    shortness = short.Shortness()
    one = member("a")
    given = policy.Policy()

    def judge(use: int, free: int) -> int:
        tick = Tick(seconds=1, guests={"a": Seen(memory=use, refaults=0.0, anon=use)}, free=free)
        return shortness.judge([one], tick, policy=given, reserve=100 * MIB, pool=1000 * MIB)

    assert judge(500 * MIB, 5000 * MIB) == 1000 * MIB
    assert not shortness.now
    judge(900 * MIB, 5000 * MIB)
    assert shortness.now
    judge(800 * MIB, 5000 * MIB)
    assert shortness.now, "with hysteresis"
    judge(500 * MIB, 5000 * MIB)
    assert not shortness.now
    assert judge(300 * MIB, 150 * MIB) == 350 * MIB, "another program took the host's memory"
    assert shortness.now


def test_counters_that_run_backwards_make_blind() -> None:
    before = Reading(at=0, cpu_ns=5 * SECOND, memory=MIB, refaults=10, disk_read=5)
    now = Reading(at=SECOND, cpu_ns=6 * SECOND, memory=MIB, refaults=30, disk_read=5)
    seen = observe.seen(before, now)
    assert (seen.cpu, seen.refaults, seen.memory, seen.disk) == (1000, 20.0, MIB, 0)
    assert observe.seen(before, replace(now, refaults=3)).blind
    assert observe.seen(before, replace(now, cpu_ns=1)).cpu is None
    assert observe.seen(None, now).blind
    assert observe.seen(now, now).blind
    assert observe.seen(before, Reading(at=SECOND)).memory is None, "gone"


def test_who_was_idle_does_not_begin_at_the_limit_of_its_idle_time() -> None:
    """A mail server at 2 MiB/s beside a backup needed five ticks for what was due to it at once."""
    disks = disk.Disks()
    members = {"backup": member("backup"), "mail": member("mail")}
    claims = {"backup": Claim(shares=100), "mail": Claim(shares=1000)}
    root = Group(
        name="",
        children=tuple(
            Leaf(name=name, claims={Resource.DISK: claim}) for name, claim in claims.items()
        ),
    )
    seen = {"backup": Seen(disk=110 * MIB), "mail": Seen(disk=MIB)}
    for _ in range(3):
        made = disks.targets(root, seen, members, 110 * MIB)
        for name, rate in made.items():
            members[name].disk = rate
    assert made["mail"] == 2 * 100 * MIB
    seen = {"backup": Seen(disk=10 * MIB), "mail": Seen(disk=100 * MIB)}
    for _ in range(30):
        made = disks.targets(root, seen, members, 110 * MIB)
        for name, rate in made.items():
            members[name].disk = rate
    assert 9 * MIB <= made["backup"] <= 20 * MIB
    assert made["mail"] >= 90 * MIB


def test_those_who_sleep_take_no_part_in_the_disks() -> None:
    """Fifty of them left a service a fiftieth of the disk at the beginning of its peak."""
    disks = disk.Disks()
    names = ["works", *(f"sleeper{number}" for number in range(50))]
    members = {name: member(name) for name in names}
    for name in names[1:]:
        one = members[name]
        status = replace(one.guest.status, state=GuestState.PAUSED, idle_since=1)
        one.guest = replace(one.guest, status=status)
    root = Group(name="", children=tuple(Leaf(name=name) for name in names))
    seen = {name: Seen(disk=90 * MIB if name == "works" else 0) for name in names}
    made = disks.targets(root, seen, members, 100 * MIB)
    assert made["works"] == disk.BURST * 100 * MIB, "the whole disk is due to it"
    assert {made[name] for name in names[1:]} == {0}
    assert made.keys() == members.keys()


def test_disks_are_divided_only_while_they_are_busy() -> None:
    disks = disk.Disks()
    members = {"a": member("a"), "b": member("b"), "own": member("own")}
    members["own"].guest = replace(
        members["own"].guest,
        spec=replace(members["own"].guest.spec, resources=Resources(io_limit=5 * MIB)),
    )
    members["own"].disk = 5 * MIB
    claims = {Resource.DISK: Claim(reservation=10 * MIB, shares=3000)}
    root = Group(name="", children=(Leaf(name="a", claims=claims), Leaf(name="b")))

    def targets(a: int, b: int) -> dict[str, int]:
        seen = {"a": Seen(disk=a * MIB), "b": Seen(disk=b * MIB), "own": Seen(disk=0)}
        made = disks.targets(root, seen, members, 100 * MIB)
        for name, rate in made.items():
            members[name].disk = rate
        return made

    assert targets(10, 20) == {"a": 0, "b": 0, "own": 5 * MIB}
    first = targets(5, 90)
    assert 0 < first["b"] < 100 * MIB
    for _ in range(40):
        now = targets(members["a"].disk // MIB, members["b"].disk // MIB)
    assert now["a"] == pytest.approx(3 * now["b"], rel=0.1), "by shares when both want all"
    assert now["a"] + now["b"] <= 100 * MIB
    assert targets(1, 1)["b"] == 0, "calm again"
    assert disks.targets(root, {"a": Seen(disk=MIB)}, members, 0) == {"a": 0}, "unknown disks"


def test_weights_stay_as_given_until_something_is_promised() -> None:
    a, b = member("a"), member("b")
    members = {"a": a, "b": b}
    plain = Group(name="", children=(Leaf(name="a"), Leaf(name="b")))
    assert weigh.targets(plain, members, 1000) == {"a": 1024, "b": 1024}
    members["a"].minimal = True
    assert weigh.targets(plain, members, 1000) == {"a": 102, "b": 1024}
    members["a"].minimal = False
    promised = Leaf(name="a", claims={Resource.CPU: Claim(reservation=800)})
    targets = weigh.targets(Group(name="", children=(promised, Leaf(name="b"))), members, 1000)
    assert targets["a"] == pytest.approx(4 * targets["b"], rel=0.02)
    tenant = Group(name="t", children=(Leaf(name="b"),))
    assert weigh.targets(Group(name="", children=(promised, tenant)), members, 1000) == targets


@pytest.mark.parametrize(
    "table",
    [
        {"tick": math.nan}, {"tick": 1e30}, {"tick": -1}, {"tick": "1s"}, {"mode": "perhaps"},
        {"pool": {"memory": "12q"}}, {"pool": {"memory": -5}}, {"pool": {"memory": 10**30}},
        {"pool": {"cpu": 0}}, {"pool": {"gpu": 1}}, {"what": 1}, {"tuning": {"ramp": 0.5}},
        {"tuning": {"tax": 2}}, {"tuning": {"tax": math.inf}}, {"overcommit": 0}, [], "x", None,
    ],
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_refused(table: object) -> None:
    with pytest.raises(Invalid) as caught:
        policy.read(table)
    assert caught.value.message


def test_a_policy_set_at_run_time_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "governor.json"
    policies = policy.Policies(policy.Policy(), path)
    assert policies.now.tick == 1.0
    wanted = policy.read({"tick": 0.2, "pool": {"memory": "512m", "cpu": 1.0}})
    policies.set(wanted)
    again = policy.Policies(policy.Policy(), path)
    assert again.now == wanted
    assert again.changed
    host = again.now.host(cpus=4, memory=8 << 30)
    assert host.available(Resource.MEMORY) == 512 * MIB
    assert host.available(Resource.CPU) == 1000
    again.set(None)
    assert not policy.Policies(policy.Policy(), path).changed


def test_a_policy_that_cannot_be_kept_is_not_in_force(tmp_path: Path) -> None:
    policies = policy.Policies(policy.Policy(), tmp_path / "governor.json")
    (tmp_path / "governor.json" / "busy").mkdir(parents=True)  # nothing can be put in its place
    with pytest.raises(Exhausted, match="the policy cannot be kept in "):
        policies.set(policy.read({"tick": 0.2}))
    assert policies.now.tick == 1.0
    assert [one.name for one in tmp_path.iterdir()] == ["governor.json"]


def test_the_ring_keeps_an_hour_in_little_memory() -> None:
    kept = ring.Ring()
    change = Change(at=1, guest="g", resource=Resource.MEMORY, act=Act.GROW, reason=Reason.HUNGRY)
    for second in range(5000):
        tick = Tick(seconds=1.0, guests={"g": Seen(memory=second, refaults=0.0)})
        kept.add(Frame(at=second * SECOND, tick=tick, changes=(change,)))
    lines = list(kept.frames(0))
    assert 3600 <= len(lines) <= 3600 + 2 * ring.BLOCK
    assert len(list(kept.frames(4990 * SECOND))) == 10
    assert len(list(kept.frames(4000 * SECOND))) == 1000
    for since, first in ((4000, 3968), (4992, 4992), (4995, 4992), (9999, 4992)):
        found = [json.loads(line)["at"] for line in kept.frames(since * SECOND, lead=True)]
        assert found == [second * SECOND for second in range(first, 5000)], "from a block's first"
    assert not kept.begins
    assert len(kept.changes("g", 0)) == ring.CHANGES
    assert kept.changes("other", 0) == []


def test_who_follows_hears_of_each_tick_and_may_be_slow() -> None:
    async def story() -> None:
        kept = ring.Ring()
        kept.add(Frame(at=1, tick=Tick(seconds=1.0)))
        lines = kept.follow(0)
        assert b'"at":1,' in await anext(lines)
        waiting = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        kept.add(Frame(at=2, tick=Tick(seconds=1.0)))
        assert b'"at":2,' in await waiting
        for number in range(3, 3 + 2 * ring.QUEUE):
            kept.add(Frame(at=number, tick=Tick(seconds=1.0)))
        assert f'"at":{3 + ring.QUEUE},'.encode() in await anext(lines), "the oldest are lost"

    asyncio.run(story())
