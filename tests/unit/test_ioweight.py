"""Disks by weight: what follows from claims, what is written, what is left without a governor."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fakes.governing import FakeKernel
from member_values import member
from wirt.governor.movement import Reason
from wirt.governor.tree import Claim, Group, Resource
from wirt.governor.tree import Member as Leaf
from wirt.host.governing import ioweight, safety
from wirt.host.governing.member import Member, kernel_disk_weight
from wirt.linux.cgroup import Cgroups
from wirt.privileged import governing
from wirt.privileged.holds import Hold, Safe

MIB = 1 << 20


def leaf(name: str, **claim: int) -> Leaf:
    return Leaf(name=name, claims={Resource.DISK: Claim(**claim)})


def modern(*names: str) -> dict[str, Member]:
    made = {name: member(name) for name in names}
    for one in made.values():
        one.v2, one.disk_weight = True, 100
    return made


def targets(
    root: Group, members: dict[str, Member], capacity: int = 10 * MIB
) -> dict[str, int | None]:
    return {one.id: one.disk_weight for one in ioweight.wanted(root, members, capacity)}


def test_equal_guests_keep_the_kernels_weight() -> None:
    root = Group(name="", children=(leaf("a"), leaf("b", limit=8 * MIB)))
    assert targets(root, modern("a", "b")) == {}


def test_shares_count_at_every_level() -> None:
    inner = Group(name="it", children=(leaf("a"), leaf("b", shares=3000)))
    root = Group(name="", children=(inner, leaf("c")))
    assert targets(root, modern("a", "b", "c")) == {"a": 38, "b": 112, "c": 150}


def test_what_is_promised_counts_only_where_somebody_knows_the_disks() -> None:
    root = Group(name="", children=(leaf("a", reservation=9 * MIB), leaf("b")))
    members = modern("a", "b")
    assert targets(root, members) == {"a": 180, "b": 20}
    assert targets(root, members, 0) == {}
    members["a"].disk_weight = 180
    assert targets(root, members, 0) == {"a": 100}, "the policy says it no more"


def test_shares_alone_count_when_nobody_knows_the_disks() -> None:
    inner = Group(name="it", children=(leaf("a", limit=MIB), leaf("b", shares=3000)))
    root = Group(name="", children=(inner, leaf("c")))
    assert targets(root, modern("a", "b", "c"), 0) == {"a": 38, "b": 112, "c": 150}


def test_nothing_is_written_where_nothing_has_weights() -> None:
    members = modern("a", "b")
    members["b"].disk_weight = None
    root = Group(name="", children=(leaf("a"), leaf("b", shares=9000)))
    assert targets(root, members) == {}, "alone among those who have one"


def test_it_is_written_once_told_and_given_back() -> None:
    members = modern("a", "b")
    root = Group(name="", children=(leaf("a", shares=3000), leaf("b")))
    kernel = FakeKernel(dict.fromkeys(members, 0))

    async def story() -> None:
        wanted = ioweight.wanted(root, members, 10 * MIB)
        told = await ioweight.write(kernel, members, wanted, Reason.RESERVATION)
        assert [(one.guest, one.before, one.after) for one in told] == [
            ("a", 100, 150), ("b", 100, 50),
        ]  # fmt: skip
        assert targets(root, members) == {}
        plan = safety.plan(members.values(), set(), None)
        assert {safe.id: safe.disk_weight for safe in plan} == {"a": 100, "b": 100}
        await ioweight.write(kernel, members, ioweight.given_back(members), Reason.LIMIT)
        assert ioweight.given_back(members) == []
        assert safety.plan(members.values(), set(), None) == ()

    asyncio.run(story())


def test_each_file_that_is_there_gets_what_it_takes(tmp_path: Path) -> None:
    cgroups = Cgroups(v1={}, v2=tmp_path, v2_controllers=frozenset({"io", "memory"}))
    group = tmp_path / "a"
    group.mkdir()
    assert kernel_disk_weight(cgroups, "/a") is None
    (group / "io.weight").write_text("default 100\n8:0 50\n")
    assert kernel_disk_weight(cgroups, "/a") == 100
    (group / "io.weight").write_text("")
    assert not governing.hold(cgroups, "/a", Hold(id="a", disk_weight=4000)).failure
    assert (group / "io.weight").read_text() == "default 4000"
    assert not (group / "io.bfq.weight").exists()
    (group / "io.bfq.weight").touch()
    governing.hold(cgroups, "/a", Hold(id="a", disk_weight=4000))
    assert (group / "io.bfq.weight").read_text() == "default 1000"
    (group / "io.weight").write_text("")
    governing.release(cgroups, "/a", Safe(id="a", disk_weight=100))
    assert kernel_disk_weight(cgroups, "/a") == 100
    assert kernel_disk_weight(Cgroups(v1={"blkio": tmp_path}, v2=None), "/a") is None
