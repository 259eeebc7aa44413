"""Who is governed, from tick to tick: guests that change, end and begin anew in between."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from member_values import member
from wirt.engine.protocol import Size
from wirt.errors import NotFound
from wirt.governor.movement import margin
from wirt.governor.tree import Claim, Group, Resource
from wirt.governor.tree import Member as Leaf
from wirt.host.governing import fence
from wirt.host.governing.newcomers import Newcomers
from wirt.host.governing.roll import Roll
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.model.guest import Guest, GuestSpec, GuestState, Isolation
from wirt.model.reading import Reading
from wirt.model.resources import Resources

MIB = 1 << 20


class Host:
    """What the roll asks: who runs, who they are, what was promised."""

    def __init__(self, tmp: Path) -> None:
        self.guests: dict[str, Guest] = {}
        self.lives: dict[str, Any] = {}
        self.groups: list[object] = []
        self.tmp = tmp
        for name in ("freezer", "cpu", "memory"):
            (tmp / name / "wt").mkdir(parents=True)
        self.roll = Roll(
            layout=Layout(name="wt", state=tmp, run=tmp),
            cgroups=Cgroups(v1={n: tmp / n for n in ("freezer", "cpu", "memory")}, v2=None),
            roster=cast(Any, SimpleNamespace(get=self._known)),
            running=cast(
                Any, SimpleNamespace(get=self.lives.get, ids=lambda: tuple(self.lives))
            ),
            admit=cast(Any, SimpleNamespace(tree=self._tree, size=_size)),
            groups=cast(Any, SimpleNamespace(all=lambda: tuple(self.groups))),
        )  # fmt: skip

    def add(self, name: str, **spec: Any) -> None:
        self.guests[name] = replace(member(name).guest, spec=GuestSpec(image="x", **spec))
        self.begins(name)

    def begins(self, name: str) -> None:
        self.lives[name] = SimpleNamespace(over=False)
        self.set_state(name, GuestState.RUNNING)

    def ends(self, name: str) -> None:
        """The roster and the kernel know it; the governor does not yet."""
        del self.lives[name]
        self.set_state(name, GuestState.EXITED)

    def set_state(self, name: str, state: GuestState) -> None:
        guest = self.guests[name]
        self.guests[name] = replace(guest, status=replace(guest.status, state=state))

    def change(self, name: str, **resources: Any) -> None:
        guest = self.guests[name]
        self.guests[name] = replace(
            guest, spec=replace(guest.spec, resources=Resources(**resources))
        )

    def freeze(self, name: str, frozen: bool) -> None:
        place = self.tmp / "freezer/wt" / name
        place.mkdir(exist_ok=True)
        (place / "freezer.state").write_text("FROZEN\n" if frozen else "THAWED\n")

    @property
    def promised(self) -> dict[str, int]:
        """Bytes, as the governor knows them after its next look."""
        self.roll.sync()
        claims = self.roll.tree().claims_to(Resource.MEMORY)
        return {name: claim.reservation for name, claim in claims.items()}

    def _known(self, name: str) -> Guest:
        if name not in self.guests:
            raise NotFound(f"no {name}")
        return self.guests[name]

    def _tree(self) -> Group:
        leaves = [
            Leaf(name=name, claims={
                Resource.MEMORY: Claim(reservation=one.spec.resources.memory_reservation or 0)
            })
            for name, one in self.guests.items() if one.status.state is GuestState.RUNNING
        ]  # fmt: skip
        return Group(name="", children=tuple(leaves))


def _size(spec: GuestSpec) -> Size:
    return Size(memory=spec.resources.memory or 512 * MIB, cpu_millis=None)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_tree_is_made_anew_whenever_a_claim_changes(host: Host) -> None:
    """Values are told apart by their ids, which may come again once a value is gone."""
    host.add("a")
    host.add("b")
    assert host.promised == {"a": 0, "b": 0}
    first = host.roll.tree()
    assert host.roll.tree() is first, "not without a reason"
    for mib in range(1, 200):
        host.change("a", memory_reservation=mib * MIB)
        assert host.promised["a"] == mib * MIB
    host.groups.append(object())
    last = host.roll.tree()
    host.roll.sync()
    host.groups[0] = object()
    assert host.roll.tree() is not last, "a group may promise something else"


def test_another_run_of_the_same_guest_is_another_member(host: Host) -> None:
    host.add("a")
    host.roll.sync()
    before = host.roll.members["a"]
    before.stuck, before.limit, before.frozen = 1e9, MIB, True
    host.begins("a")
    host.roll.sync()
    after = host.roll.members["a"]
    assert after is not before
    assert (after.stuck, after.limit, after.before, after.frozen) == (0.0, None, None, False)
    host.ends("a")
    host.roll.sync()
    assert not host.roll.members
    assert not host.roll.anybody()


def test_who_is_frozen_and_not_by_its_user_is_found_and_followed(host: Host) -> None:
    """The helper may thaw all when the daemon is silent, and the daemon may be a new one."""
    host.add("a")
    host.freeze("a", True)
    host.roll.sync()
    one = host.roll.members["a"]
    assert one.frozen, "by a governor before this one"
    assert one.safe is not None
    assert one.safe.thaw
    host.freeze("a", False)
    host.roll.sync()
    assert not one.frozen, "by the dead man's switch"
    one.frozen = one.freezing = True
    host.roll.sync()
    assert one.frozen, "a freeze is under way"
    one.freezing = False
    host.freeze("a", True)
    host.set_state("a", GuestState.PAUSED)
    host.roll.sync()
    assert not one.frozen, "that is its user's, who alone ends it"
    host.begins("a")
    host.set_state("a", GuestState.PAUSED)
    host.roll.sync()
    assert not host.roll.members["a"].frozen


def test_a_machine_has_the_size_that_its_user_last_said(host: Host) -> None:
    host.add("vm", isolation=Isolation.VM)
    host.add("box", resources=Resources(memory=MIB))
    host.roll.sync()
    assert (host.roll.members["vm"].size, host.roll.members["box"].size) == (512 * MIB, None)
    host.change("vm", memory=700 * MIB)
    host.roll.sync()
    assert host.roll.members["vm"].size == 700 * MIB


def test_a_weight_that_its_user_wrote_over_the_governors_is_seen_at_once(host: Host) -> None:
    """Whatever was changed of the guest: the same shares once more are written as well."""
    place = host.tmp / "cpu/wt/a"
    place.mkdir()
    host.add("a")
    for number, shares in enumerate((2048, 2048, 700)):
        (place / "cpu.shares").write_text("512\n")
        host.roll.read_weights()
        assert host.roll.members.get("a") is None or host.roll.members["a"].cpu == 512
        (place / "cpu.shares").write_text(f"{shares}\n")
        host.roll.sync()
        assert host.roll.members["a"].cpu == (512 if number else 2048), "its user did nothing"
        host.change("a", cpu_shares=shares)
        host.roll.sync()
        assert host.roll.members["a"].cpu == shares


def test_a_guest_that_ended_since_the_last_look_hinders_no_start(host: Host) -> None:
    """A group that changed at the same time makes the claims be counted anew, without it."""
    host.add("a")
    host.add("ended")
    host.roll.sync()
    for one in host.roll.members.values():
        one.readings = cast(Any, SimpleNamespace(held=lambda: (None, None), close=lambda: None))
        one.use, one.revocable = 50 * MIB, 0
    host.ends("ended")
    host.groups.append(object())
    newcomers = Newcomers(host.roll, cast(Any, None), cast(Any, _Heart()))
    newcomers.shared = lambda: 300 * MIB

    async def story() -> int | None:
        async with newcomers.starting(member("new").guest) as fence:
            return fence

    room = 300 * MIB - 2 * 50 * MIB - margin(300 * MIB)
    assert asyncio.run(story()) == room // 4096 * 4096, "what it held may still be held"


class _Heart:
    async def add(self, more: object) -> None:
        return None


def test_what_others_hold_in_the_instances_group_is_what_the_kernel_cannot_drop(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path)
    roll = host.roll
    assert roll.others() == 0, "version 1 needs no such figure"
    roll._cgroups = Cgroups(v1={}, v2=tmp_path, v2_controllers=frozenset({"memory"}))
    assert roll.others() == 0
    (tmp_path / "wt").mkdir()
    (tmp_path / "wt/memory.current").write_text(f"{86 * MIB}\n")
    (tmp_path / "wt/memory.stat").write_text(f"inactive_file {9 * MIB}\nactive_file {MIB}\n")
    for name in "ab":
        host.add(name)
    roll.sync()
    first, second = roll.members.values()
    first.before = Reading(at=1, memory=40 * MIB, file=8 * MIB)
    assert roll.others() == (86 - 10 - 32) * MIB
    second.before = Reading(at=1, memory=30 * MIB)
    assert roll.others() == (86 - 10 - 62) * MIB
    for one in (first, second):
        one.readings = cast(Any, SimpleNamespace(held=lambda: (37 * MIB, MIB), close=lambda: None))
    assert (
        roll.others({n: m.readings.held() for n, m in roll.members.items()}) == (86 - 10 - 72) * MIB
    )
    second.before = Reading(at=1, memory=80 * MIB)
    assert roll.others() == 0, "the looks are not of one instant"
    assert roll.lines(roll.members, roll.tree(), pool=None, seconds=1.0) == {}
    assert roll.lines(roll.members, roll.tree(), pool=128 * MIB, seconds=1.0).keys() == {"a", "b"}


def test_a_first_fence_goes_by_what_others_hold_at_that_instant() -> None:
    """A second of growth since the last look was else the newcomer's as well."""
    told: list[tuple[int | None, int | None]] = []
    one = member("calm")
    one.use, one.revocable = 20 * MIB, 8 * MIB
    told.append((200 * MIB, 5 * MIB))
    assert fence.kept_now(one, 0, told[-1]) == 187 * MIB, (
        "of 8 MiB that could be taken all were swap's"
    )
    one.before = Reading(at=1, memory=20 * MIB, file=8 * MIB)
    assert fence.kept_now(one, 0, told[-1]) == 195 * MIB
    assert fence.kept_now(one, 250 * MIB, told[-1]) == 250 * MIB
    for unknown in ((None, None), (None, 5)):
        told.append(unknown)
        assert fence.kept_now(one, 0, told[-1]) == 12 * MIB, "it is gone: as it was last seen"
    one.before = None
    told.append((200 * MIB, 0))
    assert fence.kept_now(one, 0, told[-1]) == 200 * MIB - 8 * MIB
