"""Machines among the guests: asked how their memory goes, made smaller and larger by balloons, and
slowed at their disks. Nothing of it is waited for in a tick: a machine may take long to answer.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import cast

from wirt.aio import Nursery
from wirt.engine.protocol import Elastic
from wirt.errors import WirtError
from wirt.governor.journal import Act, Change
from wirt.governor.movement import PACE, Pace, Reason, rule
from wirt.governor.tree import FREE, Claim, Resource
from wirt.host.governing import disk
from wirt.host.governing.inside import Inside, believed
from wirt.host.governing.member import MOST_BACKOFF, UNKNOWN, Member
from wirt.host.governing.memory import Goal
from wirt.model.guest import GuestState
from wirt.model.resources import Resources

ASKED = 1.0
"""Seconds between two questions while memory is short; the guest's figures are as old at most."""
CALM = 10.0
"""And while it is not."""
MOVING = 0.5
"""And while a balloon moves."""
MOST = 0.5
"""Part of its memory that is asked of a guest at once, before it has told anew how it is."""
_WHOLE = 2 << 20
EAGER = Pace(band=0.0, least=_WHOLE)
"""While somebody is hungry each step of a balloon is worth it."""


class Machines:
    """Speaks to them in tasks of ``nursery``."""

    def __init__(self, nursery: Nursery) -> None:
        self._nursery = nursery
        self._done: list[Change] = []

    def take_done(self) -> list[Change]:
        """The changes since the last call."""
        done, self._done = self._done, []
        return done

    def ask(self, members: Iterable[Member], *, short: bool) -> None:
        """Ask those whose turn it is."""
        now = time.monotonic()
        for member in members:
            running = member.guest.status.state is GuestState.RUNNING and not member.frozen
            if member.container:
                continue
            if not running:
                if member.inside is not None:
                    member.inside.spoke = now  # it cannot
                continue
            inside = member.inside = member.inside or Inside()
            if inside.named and not (inside.hidden or inside.silent):
                inside.named, member.stuck, member.backoff = False, 0.0, 1.0
            if inside.silent and short and now >= member.stuck:
                inside.named = True
                self._leave_alone(member, now)
                self._note(
                    member, Act.REFUSE, Reason.BLIND,
                    failure="its guest does not tell how its memory goes",
                )  # fmt: skip
            pause = MOVING if inside.moving else ASKED if short else CALM
            if inside.order is not None or now - inside.at >= pause:
                self._begin(member, inside)

    def _begin(self, member: Member, inside: Inside) -> None:
        if not inside.asking:
            inside.asking = True
            self._nursery.start(self._visit(member, inside), name="ask a machine")

    async def _visit(self, member: Member, inside: Inside) -> None:
        elastic = cast(Elastic, member.live.handle)
        order, inside.order = inside.order, None
        try:
            if order is not None:
                await elastic.set_inner_memory(order)
                inside.target, inside.still = order, 0
            memory = believed(await elastic.inner_memory(), member.size)
            if inside.told(memory, time.monotonic()) and not inside.hidden:
                member.backoff = 1.0
        except WirtError as error:
            inside.memory, inside.at, inside.rate = None, time.monotonic(), None
            if order is not None:
                self._note(member, Act.REFUSE, Reason.BLIND, after=order, failure=error.message)
        finally:
            inside.asking = False

    # --- memory

    def committed(self, members: Iterable[Member], claims: Mapping[str, Claim]) -> int:
        """Bytes that these may hold together without asking; who has just ended has no claim."""
        return sum(
            m.inside.committed(claims.get(m.guest.id, FREE).limit)
            for m in members
            if m.inside is not None
        )

    def coming(self, members: Iterable[Member]) -> bool:
        """Whether memory is on its way back from one of these."""
        return any(m.inside is not None and m.inside.giving for m in members)

    def move(
        self, members: Mapping[str, Member], claims: Mapping[str, Claim], goal: Goal, *, free: int
    ) -> None:
        """Order balloons towards what everybody is entitled to. ``free``: bytes that nobody has,
        for those who shall grow."""
        now = time.monotonic()
        pace = EAGER if goal.hungry else PACE
        first = sorted(members, key=lambda name: (name not in goal.hungry, name))
        for name in first:
            member, inside = members[name], members[name].inside
            if inside is None or inside.memory is None or member.guest.status.asleep:
                continue
            if inside.hidden:
                self._tell_lie(member, inside, now)
                continue
            if inside.stuck:
                self._give_up(member, inside, now)
                continue
            claim = claims[name]
            has = inside.committed(claim.limit)
            wanted = min(max(goal.entitled.get(name, has), claim.reservation), claim.limit)
            after = self._down(member, inside, wanted, now, pace)
            if wanted > has:
                after = has + min(wanted - has, max(free, 0))
                free -= after - has
            if after is not None and pace.worth(has, after):
                self._order(member, inside, after, has, goal, now)

    def _down(
        self, member: Member, inside: Inside, wanted: int, now: float, pace: Pace
    ) -> int | None:
        """How far it may be made smaller now, by what it told before it was last asked to move, or
        after it has moved."""
        memory, least = inside.memory, inside.least(now)
        if memory is None or least is None or now < member.stuck or wanted >= memory.size:
            return None
        if inside.shrinking and not inside.outdated:
            return None
        lowest = memory.size - int(MOST * memory.size)
        after = -(-max(wanted, least, lowest) // _WHOLE) * _WHOLE
        asked = inside.order if inside.order is not None else inside.target
        if asked is not None and not (after < asked and pace.worth(asked, after)):
            return None
        return after if after < memory.size else None

    def _order(
        self, member: Member, inside: Inside, after: int, has: int, goal: Goal, now: float
    ) -> None:
        inside.place(after, now)
        self._begin(member, inside)
        name = member.guest.id
        why = rule(goal.reasons.get(name, Reason.HEADROOM), before=has, after=after)
        self._note(
            member, Act.GROW if after > has else Act.SHRINK, why, before=has, after=after,
            inputs=goal.inputs.get(name),
        )  # fmt: skip

    def _give_up(self, member: Member, inside: Inside, now: float) -> None:
        """Whoever does not give what it is asked for keeps it, and is left alone for a while: a
        balloon that cannot grow would try for ever."""
        assert inside.memory is not None
        asked, inside.still = inside.target, 0
        inside.place(inside.memory.size, now)
        self._begin(member, inside)
        self._leave_alone(member, now)
        self._note(
            member, Act.REFUSE, Reason.STUCK, before=inside.order, after=asked,
            failure="its guest gives back no more",
        )  # fmt: skip

    def _tell_lie(self, member: Member, inside: Inside, now: float) -> None:
        """Tell now and then about one whose balloon lies, and ask it for no more than to say that
        it has what it has: a driver that was bound anew says nothing before it is asked."""
        if now >= member.stuck or not inside.named:
            inside.named = True
            self._leave_alone(member, now)
            inside.place(inside.holds, now)
            self._begin(member, inside)
            left = inside.holds - inside.hidden
            self._note(
                member, Act.REFUSE, Reason.STUCK, before=inside.holds, after=left,
                failure=f"its balloon says that it leaves it {left >> 20} MiB, but it holds "
                f"{inside.holds >> 20} MiB",
            )  # fmt: skip

    @staticmethod
    def _leave_alone(member: Member, now: float) -> None:
        """For twice as long as the last time."""
        member.stuck = now + member.backoff
        member.backoff = min(2 * member.backoff, MOST_BACKOFF)

    def loosen(self, members: Mapping[str, Member], claims: Mapping[str, Claim]) -> None:
        """Give back what their users allowed, when memory is not short any more."""
        now = time.monotonic()
        for name, member in members.items():
            inside = member.inside
            if inside is None or inside.memory is None:
                continue
            if not (inside.hidden or inside.silent):
                member.backoff = 1.0  # nobody asks it for anything any more
            if inside.order is not None or name not in claims:  # it has just ended
                continue
            most = claims[name].limit
            wanted = inside.memory.size if inside.target is None else inside.target
            if wanted + PACE.least < most:
                inside.place(most, now)
                self._begin(member, inside)
                self._note(member, Act.GROW, Reason.LIMIT, before=wanted, after=most)

    # --- disks

    def slow(self, members: Iterable[Member], rates: Mapping[str, int]) -> None:
        """Have these read and write no faster, 0: as they can."""
        for member in members:
            before, member.disk = member.disk, rates[member.guest.id]
            self._nursery.start(self._throttle(member, before), name="slow a machine")

    async def _throttle(self, member: Member, before: int) -> None:
        failure, rate = "", member.disk
        try:
            await member.live.handle.limit(Resources(io_limit=rate))
        except WirtError as error:
            failure = error.message
        if before == UNKNOWN and not failure:
            return
        self._done.append(disk.change(member, before, rate, failure))

    def _note(
        self,
        member: Member,
        act: Act,
        reason: Reason,
        *,
        before: int | None = None,
        after: int | None = None,
        failure: str = "",
        inputs: Mapping[str, float] | None = None,
    ) -> None:
        left = None if member.inside is None or member.inside.memory is None else (
            member.inside.memory.size
        )  # fmt: skip
        self._done.append(
            Change(
                at=time.time_ns(), guest=member.guest.id, resource=Resource.MEMORY, act=act,
                reason=reason, before=before, after=after, effect=left, failure=failure,
                inputs=inputs or {},
            )
        )  # fmt: skip


def fitting(
    entitled: Mapping[str, int], members: Mapping[str, Member], room: int, first: Collection[str]
) -> dict[str, int]:
    """What containers can have while machines have not given back yet what these are entitled to:
    everybody what it holds, and what is left in ``room`` for those who need it, ``first`` before
    others."""
    wanted = {name: entitled.get(name, 0) for name in members}
    if sum(wanted.values()) <= room:
        return wanted
    made = {name: min(amount, members[name].use or 0) for name, amount in wanted.items()}
    left = max(room - sum(made.values()), 0)
    for name in sorted(made, key=lambda name: (name not in first, name)):
        more = min(wanted[name] - made[name], left)
        made[name] += more
        left -= more
    return made
