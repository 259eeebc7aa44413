"""Guests that start: fenced from their first instant on, not only from the governor's next look.

A bomb that goes off at once would else fill the pool within a tick, and the kernel would end
whoever is largest. The fence is part of the launch, so the guest's first process already runs
within it. The safe plan knows of it beforehand: if the daemon ends meanwhile, the helper takes the
fence away.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass

from wirt.errors import WirtError
from wirt.governor.journal import Act, Change
from wirt.governor.movement import Reason, margin
from wirt.governor.tree import FREE, Resource
from wirt.host.governing import fence
from wirt.host.governing.actuate import Actuator
from wirt.host.governing.heartbeat import Heartbeat
from wirt.host.governing.member import Member
from wirt.host.governing.roll import Roll
from wirt.model.guest import Guest, Isolation
from wirt.privileged.holds import Hold, Safe


@dataclass(slots=True, kw_only=True)
class _Newcomer:
    """``fence``: bytes. ``runs``: its start is over."""

    guest: Guest
    fence: int
    runs: bool = False


class Newcomers:
    """``shared``: bytes of memory that containers share by limits now, None while nobody is held to
    any; set by the governor."""

    def __init__(self, roll: Roll, actuator: Actuator, heart: Heartbeat) -> None:
        self._roll = roll
        self._heart = heart
        self._actuator = actuator
        self._coming: dict[str, _Newcomer] = {}
        self._changes: list[Change] = []
        self.shared: Callable[[], int | None] = _nothing

    @contextlib.asynccontextmanager
    async def starting(self, guest: Guest) -> AsyncIterator[int | None]:
        """While the block runs ``guest`` is started, with a limit of so many bytes of memory; None:
        with its own. The governor takes it from there, or it is given back what its user said."""
        room = self._room(guest)
        if room is None:
            yield None
            return
        self._coming[guest.id] = coming = _Newcomer(guest=guest, fence=room)
        try:
            try:
                await self._heart.add(self.plan())
            except WirtError:  # nobody could undo it, nor launch the guest just now
                room = None
            yield room
        except BaseException:
            self._coming.pop(guest.id, None)
            raise
        coming.runs = True
        if self.shared() is None:  # the governor was paused meanwhile, or memory is not short now
            self._coming.pop(guest.id, None)
            hold = Hold(
                id=guest.id, limit=self._safe(guest), line=self._safe_line(guest), was=coming.fence
            )  # fmt: skip
            with contextlib.suppress(WirtError):  # else the plan is carried out later
                await self._actuator.govern([hold])

    def plan(self) -> tuple[Safe, ...]:
        """What those who are not looked at yet get when nobody governs."""
        return tuple(
            Safe(id=name, limit=self._safe(one.guest), line=self._safe_line(one.guest))
            for name, one in self._coming.items()
        )

    def arrived(self, members: Mapping[str, Member], live: Iterable[str]) -> list[Change]:
        """Those who have been looked at are fenced like all others from now on; who is no more
        among the ``live`` is forgotten. What there is to remember of both: who ended before any
        look may have met its fence."""
        here, told = set(live), []
        for name, one in tuple(self._coming.items()):
            member = members.get(name)
            if member is not None:
                member.fenced = True
                member.settled = 0  # all that it holds is growth
            gone = one.runs and name not in here
            if member is not None or gone:
                told.append(_change(one, member))
                del self._coming[name]
        return told

    def _safe(self, guest: Guest) -> int:
        """Bytes that it may hold without a fence, -1: no limit. Version 2's is another file than
        its user's limit."""
        return -1 if self._roll.v2 else guest.spec.resources.memory or -1

    def _safe_line(self, guest: Guest) -> int | None:
        return guest.spec.resources.memory or -1 if self._roll.v2 else None

    def _room(self, guest: Guest) -> int | None:
        capacity = self.shared()
        if capacity is None or guest.spec.isolation is not Isolation.CONTAINER:
            return None
        claims = self._roll.tree().claims_to(Resource.MEMORY)
        containers = self._roll.containers()
        looked = self._roll.members if self._roll.v2 else containers
        held = {name: member.readings.held() for name, member in looked.items()}
        if self._roll.v2:  # what one that has just ended may still hold stands in the group above
            containers = {n: m for n, m in containers.items() if held[n][0] is not None}
        keeps = [
            fence.kept_now(m, claims.get(n, FREE).reservation, held[n])
            for n, m in containers.items()
        ]
        keeps += [
            one.guest.spec.resources.memory_reservation or 0
            for name, one in self._coming.items()
            if name not in containers
        ]
        resources = guest.spec.resources
        promised = resources.memory_reservation or 0
        least = margin(capacity) + self._roll.others(held)
        room = fence.first(keeps, promised, capacity=capacity, least=least)
        return room if resources.memory is None or room < resources.memory else None


def _change(one: _Newcomer, member: Member | None) -> Change:
    return Change(
        at=time.time_ns(), guest=one.guest.id, resource=Resource.MEMORY, act=Act.LIMIT,
        reason=Reason.FENCE, after=one.fence,
        effect=None if member is None else member.limit,
    )  # fmt: skip


def _nothing() -> int | None:
    """Until the governor is there."""
    return None
