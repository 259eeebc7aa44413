"""Guests that start while memory is divided: their first fence, and what becomes of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fakes.governing import FakeKernel
from member_values import member
from wirt.governor.tree import Group
from wirt.governor.tree import Member as Leaf
from wirt.host.governing.heartbeat import Heartbeat
from wirt.host.governing.newcomers import Newcomers
from wirt.model.guest import Isolation

MIB = 1 << 20


def newcomers(kernel: FakeKernel, *, v2: bool, shared: int | None = 128 * MIB) -> Newcomers:
    """Beside ``calm``, which keeps 80 MiB of what all share."""
    calm = member("calm")
    calm.use, calm.revocable = 80 * MIB, 0
    calm.readings = cast(Any, SimpleNamespace(held=lambda: (80 * MIB, 0)))
    roll = SimpleNamespace(
        v2=v2, tree=lambda: Group(name="", children=(Leaf(name="calm"),)),
        containers=lambda: {"calm": calm}, members={"calm": calm},
        others=lambda _held: 3 * MIB if v2 else 0,
    )  # fmt: skip
    made = Newcomers(cast(Any, roll), kernel, Heartbeat(kernel))
    made.shared = lambda: shared
    return made


@pytest.mark.parametrize(("v2", "safe"), [(False, 40 * MIB), (True, -1)])
def test_without_a_governor_a_newcomer_has_what_its_user_said(v2: bool, safe: int) -> None:
    """With version 2 that is another file than the governor's: nothing is left in that."""
    kernel = FakeKernel({"new": 0})

    async def story() -> None:
        coming = newcomers(kernel, v2=v2)
        async with coming.starting(member("new", own=40 * MIB).guest) as room:
            least = 16 * MIB  # room for calm to grow by
            assert room == 128 * MIB - 80 * MIB - least - (3 * MIB if v2 else 0)
            assert [(one.id, one.limit) for one in kernel.safe] == [("new", safe)], "known before"
            assert [one.line for one in kernel.safe] == [40 * MIB if v2 else None]
            kernel.lines["new"] = room if v2 else -1
            coming.shared = lambda: None  # it was paused meanwhile
        assert kernel.limits["new"] == safe
        assert kernel.lines["new"] == (40 * MIB if v2 else -1)
        assert coming.plan() == ()

    asyncio.run(story())


def test_who_has_just_ended_counts_as_what_is_still_held_above() -> None:
    """Else a guest that starts right after it could end for what nobody holds any more."""
    kernel = FakeKernel({"new": 0})

    async def story() -> None:
        coming = newcomers(kernel, v2=True)
        (calm,) = coming._roll.containers().values()
        calm.readings = cast(Any, SimpleNamespace(held=lambda: (None, None)))
        async with coming.starting(member("new").guest) as room:
            assert room == (128 - 16 - 3) * MIB

    asyncio.run(story())


def test_of_who_ended_before_any_look_the_fence_is_told() -> None:
    """A bomb that went off at once met it; nobody would know why it ended."""
    kernel = FakeKernel({"new": 0})

    async def story() -> None:
        coming = newcomers(kernel, v2=True)
        async with coming.starting(member("new").guest) as room:
            assert coming.arrived({}, []) == [], "its start is not over"
        (told,) = coming.arrived({}, [])
        assert (told.guest, told.after, told.effect) == ("new", room, None)
        assert coming.arrived({}, []) == []

    asyncio.run(story())


@pytest.mark.parametrize("v2", [False, True])
def test_who_is_not_held_starts_without_a_fence(v2: bool) -> None:
    kernel = FakeKernel({})
    small, machine = member("small", own=16 * MIB), member("m", isolation=Isolation.MICROVM)

    async def story() -> None:
        for guest in (small.guest, machine.guest):
            async with newcomers(kernel, v2=v2).starting(guest) as room:
                assert room is None, "its own limit is nearer, or its memory is QEMU's"
        async with newcomers(kernel, v2=v2, shared=None).starting(member("c").guest) as room:
            assert room is None, "memory is not divided"
        assert kernel.safe == ()

    asyncio.run(story())
