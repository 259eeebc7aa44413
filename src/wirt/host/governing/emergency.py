"""When the host itself runs out of memory: guests are frozen one after another, and thawed again.

Only when freezing has not helped for a while somebody has to end, and never who holds no more than
was promised to it. Who cannot be frozen does not keep others from it, nor who cannot be thawed.
Whom a governor before this one froze is thawed too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence

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

    def __init__(self, actuator: Actuator) -> None:
        self._actuator = actuator
        self._frozen: list[Member] = []
        self._refused: set[Member] = set()
        self._since: float | None = None

    def next(
        self, alarm: Alarm, members: Sequence[Member], claims: Mapping[str, Claim]
    ) -> Member | None:
        """Who is frozen in this tick, so that the safe plan can say so first."""
        if alarm is not Alarm.LOW:
            return None
        order = safety.freezing_order(members, claims)
        return next((member for member in order if member not in self._refused), None)

    async def act(
        self, alarm: Alarm, members: Sequence[Member], claims: Mapping[str, Claim]
    ) -> list[Change]:
        """One step: freeze one, thaw one, or end one."""
        known = [member for member in self._frozen if member in members and member.frozen]
        self._frozen = [m for m in members if m.frozen and m not in known] + known
        if alarm is not Alarm.LOW:
            self._since = None
            self._refused.clear()
            return [await self.thaw(self._frozen[-1])] if self._frozen else []
        chosen = self.next(alarm, members, claims)
        if chosen is not None:
            self._since = None
            return [await self._freeze(chosen)]
        if self._since is None:
            self._since = time.monotonic()
        if time.monotonic() - self._since < safety.HOPELESS:
            return []
        self._since = None
        ended = safety.victim(members, claims)
        return [] if ended is None else [await self._end(ended)]

    async def thaw(self, member: Member) -> Change:
        """Let a guest go on."""
        failure = ""
        try:
            await self._actuator.freeze(member.guest.id, False)
            member.frozen = False
        except WirtError as error:
            failure = error.message
        with contextlib.suppress(ValueError):
            self._frozen.remove(member)
            if failure:
                self._frozen.insert(0, member)  # tried again after the others
        return _change(member, Act.RESUME, failure)

    async def _freeze(self, member: Member) -> Change:
        member.frozen = True
        failure = ""
        try:
            await self._actuator.freeze(member.guest.id, True)
            self._frozen.append(member)
        except WirtError as error:
            member.frozen = False
            self._refused.add(member)
            failure = error.message
        return _change(member, Act.PAUSE, failure)

    async def _end(self, member: Member) -> Change:
        failure = "it was ended"
        try:
            await self._actuator.kill(member.guest.id)
        except WirtError as error:
            failure = error.message
        return _change(member, Act.REFUSE, failure)


def _change(member: Member, act: Act, failure: str) -> Change:
    return Change(
        at=time.time_ns(), guest=member.guest.id, resource=Resource.MEMORY, act=act,
        reason=Reason.EMERGENCY, before=member.use, failure=failure,
    )  # fmt: skip
