"""When the host itself runs out of memory: guests are frozen one after another, and thawed again.

Only when freezing has not helped for a while somebody has to end, and never who holds no more than
was promised to it. Who cannot be frozen does not keep others from it, nor who cannot be thawed.
Whom a governor before this one froze is thawed too. A freeze or a thaw may take seconds: ticks go
on meanwhile, and nothing else is begun until it is over.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from wirt.aio import Nursery
from wirt.errors import WirtError
from wirt.governor.emergency import Alarm
from wirt.governor.journal import Act, Change
from wirt.governor.movement import Reason
from wirt.governor.tree import Claim, Resource
from wirt.host.governing import safety
from wirt.host.governing.actuate import Actuator
from wirt.host.governing.member import Member


class Emergency:
    """Freezes, thaws, ends."""

    def __init__(self, actuator: Actuator, nursery: Nursery) -> None:
        self._actuator = actuator
        self._nursery = nursery
        self._busy = False
        self._done: list[Change] = []
        self._frozen: list[Member] = []
        self._refused: set[Member] = set()
        self._since: float | None = None

    def next(
        self, alarm: Alarm, members: Sequence[Member], claims: Mapping[str, Claim]
    ) -> Member | None:
        """Who is frozen in this tick, so that the safe plan can say so first."""
        if alarm is not Alarm.LOW or self._busy:
            return None
        order = safety.freezing_order(members, claims)
        return next((member for member in order if member not in self._refused), None)

    def act(self, alarm: Alarm, members: Sequence[Member], claims: Mapping[str, Claim]) -> None:
        """Begin one step unless one is under way: freeze one, thaw one, or end one."""
        if self._busy:
            return
        known = [member for member in self._frozen if member in members and member.frozen]
        self._frozen = [m for m in members if m.frozen and m not in known] + known
        if alarm is not Alarm.LOW:
            self._since = None
            self._refused.clear()
            if self._frozen:
                self._begin(self.thaw(self._frozen[-1]))
            return
        chosen = self.next(alarm, members, claims)
        if chosen is not None:
            self._since = None
            chosen.frozen = chosen.freezing = True  # the safe plan thaws it from now on
            self._begin(self._freeze(chosen))
            return
        if self._since is None:
            self._since = time.monotonic()
        if time.monotonic() - self._since < safety.HOPELESS:
            return
        self._since = None
        ended = safety.victim(members, claims)
        if ended is not None:
            self._begin(self._end(ended))

    def take_done(self) -> list[Change]:
        """The changes since the last call."""
        done, self._done = self._done, []
        return done

    def _begin(self, step: Coroutine[Any, Any, None]) -> None:
        self._busy = True
        self._nursery.start(self._through(step), name="emergency")

    async def _through(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        finally:
            self._busy = False

    async def thaw(self, member: Member) -> None:
        """Let a guest go on."""
        failure = ""
        try:
            await self._set(member, False)
            member.frozen = False
        except WirtError as error:
            failure = error.message
        with contextlib.suppress(ValueError):
            self._frozen.remove(member)
            if failure:
                self._frozen.insert(0, member)  # tried again after the others
        self._note(member, Act.RESUME, failure)

    async def _freeze(self, member: Member) -> None:
        failure = ""
        try:
            await self._set(member, True)
            self._frozen.append(member)
        except WirtError as error:
            member.frozen = False
            self._refused.add(member)
            failure = error.message
        self._note(member, Act.PAUSE, failure)

    async def _set(self, member: Member, frozen: bool) -> None:
        member.freezing = True
        try:
            if member.container:
                await self._actuator.freeze(member.guest.id, frozen)
            else:  # whose clock has to be put right afterwards
                await member.live.handle.freeze(frozen)
        finally:
            member.freezing = False

    async def _end(self, member: Member) -> None:
        failure = "it was ended"
        try:
            await self._actuator.kill(member.guest.id)
        except WirtError as error:
            failure = error.message
        self._note(member, Act.REFUSE, failure)

    def _note(self, member: Member, act: Act, failure: str) -> None:
        self._done.append(
            Change(
                at=time.time_ns(), guest=member.guest.id, resource=Resource.MEMORY, act=act,
                reason=Reason.EMERGENCY, before=member.use, failure=failure,
            )
        )  # fmt: skip
