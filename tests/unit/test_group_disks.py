"""Disks divided between groups: shares, reservations and limits at any depth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from member_values import member
from wirt.governor.observe import Seen
from wirt.governor.tree import Claim, Group, Resource
from wirt.governor.tree import Member as Leaf
from wirt.host.governing import disk

MIB = 1 << 20


def divided_disks(root: Group, seeks: dict[str, int], capacity: int) -> dict[str, int]:
    """MiB a second that each guest moves in the end, who reads ``seeks`` of them if it can."""
    disks, members = disk.Disks(), {name: member(name) for name in seeks}
    if capacity:
        root = replace(root, claims={Resource.DISK: Claim(limit=capacity * MIB)})
    for _ in range(40):
        rates = {n: min(m.disk, seeks[n] * MIB) or seeks[n] * MIB for n, m in members.items()}
        seen = {name: Seen(disk=rate) for name, rate in rates.items()}
        for name, rate in disks.targets(root, seen, members, capacity * MIB).items():
            members[name].disk = rate
    return {name: rate // MIB for name, rate in rates.items()}


def leaves(*names: str) -> tuple[Leaf, ...]:
    return tuple(Leaf(name=name) for name in names)


def disk_group(name: str, *children: Group | Leaf, **claim: int) -> Group:
    return Group(name=name, children=children, claims={Resource.DISK: Claim(**claim)})


def test_groups_share_disks_as_guests_do() -> None:
    """Three guests of one tenant get together what the one of another gets."""
    root = Group(
        name="",
        children=(disk_group("many", *leaves("a", "b", "c")), disk_group("one", *leaves("d"))),
    )
    moved = divided_disks(root, dict.fromkeys("abcd", 200), 120)
    assert moved["a"] + moved["b"] + moved["c"] == pytest.approx(60, abs=4)
    assert moved["d"] == pytest.approx(60, abs=2)


def test_a_groups_reservation_of_disks_holds_while_others_push() -> None:
    root = Group(
        name="",
        children=(
            disk_group("sure", *leaves("a"), reservation=70 * MIB, shares=100),
            disk_group("push", *leaves("b", "c"), shares=10_000),
        ),
    )
    moved = divided_disks(root, {"a": 200, "b": 200, "c": 200}, 100)
    assert moved["a"] >= 69
    assert sum(moved.values()) <= 100
    lent = divided_disks(root, {"a": 5, "b": 200, "c": 200}, 100)
    assert lent["a"] == 5
    assert lent["b"] + lent["c"] >= 85, "what is promised and not used is lent"


def test_a_groups_limit_of_disks_is_kept_at_all_times() -> None:
    """With calm disks as well, at any depth, and by guests who begin."""
    inner = disk_group("inner", *leaves("a", "b"), limit=10 * MIB)
    root = Group(name="", children=(disk_group("outer", inner, *leaves("c"), limit=30 * MIB),
                                    *leaves("free")))  # fmt: skip
    seeks = {"a": 200, "b": 200, "c": 200, "free": 40}
    for capacity in (1000, 100, 0):
        moved = divided_disks(root, seeks, capacity)
        assert moved["a"] == moved["b"] == 5, capacity
        assert moved["c"] == pytest.approx(20, abs=1), capacity
        assert moved["free"] == 40, capacity
    calm = replace(root, claims={Resource.DISK: Claim(limit=1000 * MIB)})
    rates = disk.Disks().targets(
        calm, {"free": Seen(disk=MIB)}, {"free": member("free")}, 1000 * MIB
    )
    assert rates == {"free": 0}, "what the disks can do is nobody's limit while they are calm"
    members = {name: member(name) for name in seeks}
    idle = {name: Seen(disk=0) for name in seeks} | {"free": Seen(disk=100 * MIB)}
    rates = disk.Disks().targets(root, idle, members, 100 * MIB)
    assert rates["a"] + rates["b"] <= 10 * MIB
    assert rates["a"] + rates["b"] + rates["c"] <= 30 * MIB


def test_a_groups_limit_of_disks_is_kept_while_nobody_governs() -> None:
    inner = replace(
        disk_group("inner", *leaves("a", "b"), limit=10 * MIB),
        children=(*leaves("a"), Leaf(name="b", claims={Resource.DISK: Claim(limit=2 * MIB)})),
    )
    root = Group(
        name="", children=(disk_group("outer", inner, *leaves("c"), limit=30 * MIB),
                           disk_group("open", *leaves("free")))
    )  # fmt: skip
    rates = disk.ungoverned(root)
    assert rates == {"a": 8 * MIB, "b": 2 * MIB, "c": 20 * MIB}
    one = member("a")
    assert (one.safe_disk, one.throttled, one.safe) == (0, False, None)
    one.group_disk = rates["a"]
    assert (one.own_disk, one.safe_disk, one.throttled) == (0, 8 * MIB, True)
    assert one.safe is not None
    assert one.safe.disk == 8 * MIB, "the helper keeps it when all others are gone"
    tiny = disk_group("tiny", *leaves("a", "b"), limit=5)
    assert set(disk.ungoverned(Group(name="", children=(tiny,))).values()) == {disk.LEAST_IN_GROUP}
