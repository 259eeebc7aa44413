"""Guests as the governor remembers them, and goals for them, for tests without a kernel."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from wirt.governor.emergency import Alarm
from wirt.governor.journal import Change
from wirt.governor.movement import Reason
from wirt.governor.tree import Claim
from wirt.host.governing.emergency import Emergency
from wirt.host.governing.member import Member
from wirt.host.governing.memory import Goal
from wirt.model.guest import Guest, GuestSpec, GuestState, GuestStatus
from wirt.model.reading import Reading
from wirt.model.resources import Resources


class Unread:
    """Of whom no kernel tells anything new."""

    def held(self) -> tuple[None, None]:
        return None, None


def member(name: str, *, own: int | None = None, **spec: Any) -> Member:
    resources = Resources(memory=own)
    guest = Guest(
        id=name, name=name, spec=GuestSpec(image="x", resources=resources, **spec),
        created_at=0, status=GuestStatus(state=GuestState.RUNNING), image_id="x",
    )  # fmt: skip
    return Member(
        guest=guest, live=cast(Any, None), readings=cast(Any, Unread()), v2=False, watched=True,
        before=Reading(at=0),
        revocable=1 << 50,
    )  # fmt: skip


def goal(entitled: dict[str, int], capacity: int) -> Goal:
    reasons = dict.fromkeys(entitled, Reason.HEADROOM)
    return Goal(
        entitled=entitled, capacity=capacity, reasons=reasons, hungry=frozenset(), inputs={}
    )


async def step(
    emergency: Emergency, alarm: Alarm, members: list[Member], claims: dict[str, Claim]
) -> list[Change]:
    """A tick, and what came of it."""
    emergency.act(alarm, members, claims)
    for _ in range(5):
        await asyncio.sleep(0)
    return emergency.take_done()
