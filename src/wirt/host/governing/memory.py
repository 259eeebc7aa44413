"""Moving memory: take back first, read back, then give away what is really free.

After every single write the limits add up to no more than there is, as soon as all guests are held
to one, so that an end between any two writes harms nobody; a fence counts with what its guest
holds. What has to be taken out of use is taken by the helper's child while the next ticks go on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from wirt.aio import Nursery
from wirt.errors import WirtError
from wirt.governor.journal import Act, Change
from wirt.governor.movement import PACE, Holding, Move, Reason, grows, margin, rule, shrinks
from wirt.governor.tree import UNLIMITED, Resource
from wirt.host.governing.actuate import Actuator
from wirt.host.governing.cushion import sort
from wirt.host.governing.fence import fences
from wirt.host.governing.line import astray
from wirt.host.governing.member import MOST_BACKOFF, Member
from wirt.privileged.holds import Held, Hold, as_bound

SLACK = 2 << 20
"""Bytes above what a guest holds at which its limit is lowered without taking anything out."""
BITE = 16 << 20
"""Bytes by which a guest that stands still is raised at once, at least."""
LEAST = 1 << 20
"""Bytes below which to feed a guest is not worth a write."""
_PAGE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What all guests are to hold: ``entitled`` bytes of ``capacity``, and why. ``keeps``: bytes
    of each that nobody else can have. ``lines``: bytes at which guests of version 2 end, see
    :mod:`wirt.host.governing.line`; who is not named ends where its user said."""

    entitled: Mapping[str, int]
    capacity: int
    reasons: Mapping[str, Reason]
    hungry: frozenset[str]
    inputs: Mapping[str, Mapping[str, float]]
    keeps: Mapping[str, int] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)


class Mover:
    """Writes limits, and remembers what moved."""

    def __init__(self, actuator: Actuator, nursery: Nursery) -> None:
        self._actuator = actuator
        self._nursery = nursery
        self._done: list[Change] = []
        self._sorted = sort({}, 0)
        self.busy = False
        """Whether memory is being taken back."""

    def take_done(self) -> list[Change]:
        """The changes since the last call."""
        done, self._done = self._done, []
        return done

    async def move(self, members: Mapping[str, Member], goal: Goal, *, seconds: float) -> None:
        """One tick's writes; who cannot be held to a limit is let go, up to a fence."""
        self._sorted = sort(members, goal.capacity)
        await self._fence(goal)
        await self._draw(members, goal)
        nearer = {n: min(most, goal.lines.get(n, most)) for n, most in goal.entitled.items()}
        goal = replace(goal, entitled=nearer)
        members, capacity = self._sorted.held, self._sorted.capacity
        now = time.monotonic()
        first = [self._first(m, goal) for m in members.values() if self._loose(m, goal)]
        holdings = {n: _holding(m) for n, m in members.items() if not self._loose(m, goal)}
        entitled = {n: _patient(members[n], goal.entitled.get(n, 0), now) for n in holdings}
        wanted = shrinks(holdings, entitled, seconds=seconds, capacity=capacity)
        quick = [one for one in wanted if _quick(members[one.guest], one)]
        await self._write([*first, *quick], members, goal, Act.SHRINK)
        slow = [one for one in wanted if one not in quick and not members[one.guest].squeezing]
        if slow and not self.busy:
            self.busy = True
            self._nursery.start(self._squeeze(slow, members, goal), name="squeeze")
        await self._grow(members, replace(goal, capacity=capacity))

    @property
    def free(self) -> int:
        """Bytes that nobody may hold, less than none where guests cannot be held."""
        members, capacity = self._sorted.held, self._sorted.capacity
        return capacity - sum(_counted(one, capacity) for one in members.values())

    async def loosen(self, members: Sequence[Member]) -> None:
        """Give back what the user said to guests whose memory is not divided any more."""
        holds = [
            Hold(
                id=m.guest.id, limit=m.safe_limit, waits=False,
                line=m.safe_line, was=as_bound(m.most),
            )
            for m in members
        ]  # fmt: skip
        for member, held in zip(members, await self._actuator.govern(holds), strict=True):
            before = member.limit
            _read_back(member, held)
            member.waits = False
            member.backoff = 1.0
            member.fenced = False
            member.starving = None
            self._note(
                member, Act.GROW, Reason.LIMIT, before=before, after=member.limit,
                failure=held.failure,
            )  # fmt: skip

    async def feed(self, member: Member) -> None:
        """Raise the limit of a guest that stands still, at once, from what is free."""
        free, capacity = self.free, self._sorted.capacity
        if member.limit is None or not member.bounded or member.fenced:
            return
        own = member.guest.spec.resources.memory or capacity
        step = max(member.limit // 4, BITE)
        after = min(member.limit + min(step, free), own) // _PAGE * _PAGE
        if free >= LEAST and after > member.limit:
            move = Move(guest=member.guest.id, before=member.limit, after=after)
            goal = Goal(
                entitled={}, capacity=capacity,
                reasons={member.guest.id: Reason.HUNGRY},
                hungry=frozenset({member.guest.id}), inputs={},
            )  # fmt: skip
            await self._write([move], {member.guest.id: member}, goal, Act.GROW)

    async def kill_again(self, member: Member) -> None:
        """Let the kernel's killer decide about a guest that nobody can help."""
        await self._actuator.govern([Hold(id=member.guest.id, waits=False)])
        member.waits = False
        member.starving = None
        self._note(
            member, Act.REFUSE, Reason.LIMIT if not member.bounded else Reason.STUCK,
            before=member.limit, after=member.limit, failure="nobody has memory to give",
        )  # fmt: skip

    # --- inside

    async def _fence(self, goal: Goal) -> None:
        """Let everybody who cannot be held have what the others do not keep, and no more."""
        free, least = self._sorted.free, margin(goal.capacity)
        wanted = fences(free, goal.keeps, capacity=goal.capacity, least=least)
        moved = [m for n, m in free.items() if not m.fenced or _astray(m, wanted[n], least)]
        if not moved:
            return
        holds = [
            Hold(id=m.guest.id, limit=wanted[m.guest.id] // _PAGE * _PAGE, waits=False)
            for m in moved
        ]
        for member, held in zip(moved, await self._actuator.govern(holds), strict=True):
            before, news = member.limit, not member.fenced or _far(member, wanted)
            _read_back(member, held)
            member.waits, member.starving = False, None
            member.fenced = not held.failure
            if news and member.bounded:
                self._note(
                    member, Act.LIMIT, Reason.FENCE, before=before,
                    after=wanted[member.guest.id] // _PAGE * _PAGE,
                    effect=held.limit, failure=held.failure,
                    inputs=goal.inputs.get(member.guest.id),
                )  # fmt: skip

    async def _draw(self, members: Mapping[str, Member], goal: Goal) -> None:
        """Have everybody end where it is to end; lines that fall first."""
        moved: list[tuple[Member, int | None]] = []
        for name, member in members.items():
            line = goal.lines.get(name, member.own)
            if member.floor is None or line == member.most:
                continue
            if line == member.own or line is None or astray(member, line, goal.capacity):
                moved.append((member, line))
        moved.sort(key=lambda one: (one[1] or UNLIMITED) - (one[0].most or UNLIMITED))
        holds = [
            Hold(id=m.guest.id, line=as_bound(line), was=as_bound(m.most)) for m, line in moved
        ]
        if not holds:
            return
        for (member, line), held in zip(moved, await self._actuator.govern(holds), strict=True):
            before = member.most
            _read_back(member, held)
            if before is None or line is None or abs(before - line) > before // 4:
                self._note(
                    member, Act.LIMIT, Reason.FENCE, before=before, after=line, effect=held.line,
                    failure=held.failure, inputs=goal.inputs.get(member.guest.id),
                )  # fmt: skip

    def _loose(self, member: Member, goal: Goal) -> bool:
        """Whether it has no limit that the governor could have written to hold it."""
        return member.fenced or member.limit is None or member.limit > goal.capacity

    def _first(self, member: Member, goal: Goal) -> Move:
        """A new guest's first limit: what it is entitled to, but nothing is taken out of use."""
        entitled = goal.entitled.get(member.guest.id, goal.capacity)
        after = max(entitled, (member.use or 0) + SLACK + PACE.least)
        if member.fenced and member.limit is not None:
            after = min(after, member.limit)  # others may hold what is above
        return Move(guest=member.guest.id, before=goal.capacity, after=after)

    async def _grow(self, members: Mapping[str, Member], goal: Goal) -> None:
        holdings = {name: _holding(member) for name, member in members.items()}
        moves = grows(holdings, goal.entitled, capacity=goal.capacity, first=goal.hungry)
        moves = [one for one in moves if not members[one.guest].squeezing]
        await self._write(moves, members, goal, Act.GROW)

    async def _write(
        self, moves: Sequence[Move], members: Mapping[str, Member], goal: Goal, act: Act
    ) -> None:
        if not moves:
            return
        holds = [self._hold(members[one.guest], one.after) for one in moves]
        answers = await self._actuator.govern(holds)
        for move, held in zip(moves, answers, strict=True):
            member = members[move.guest]
            before = member.limit  # of a newcomer the move has what there is for all
            _read_back(member, held)
            if not held.failure and act is Act.GROW:
                member.starving = None
            self._told(member, before, move.after, held, goal, act)

    def _hold(self, member: Member, after: int) -> Hold:
        """Whoever may hold less than its user allowed waits there; else the killer is on."""
        own = member.guest.spec.resources.memory
        below = own is None or after < own
        member.fenced = False
        waits = below if member.watched and not member.v2 else None
        written = None if waits is member.waits else waits
        member.waits = waits
        return Hold(id=member.guest.id, limit=after // _PAGE * _PAGE, waits=written)

    async def _squeeze(
        self, moves: Sequence[Move], members: Mapping[str, Member], goal: Goal
    ) -> None:
        taken = [members[one.guest] for one in moves]
        for member in taken:
            member.squeezing = True
        try:
            holds = [self._hold(members[one.guest], one.after) for one in moves]
            answers = await self._actuator.squeeze(holds)
            for move, held in zip(moves, answers, strict=True):
                member = members[move.guest]
                _read_back(member, held)
                self._judge(member, move, held)
                self._told(member, move.before, move.after, held, goal, Act.SHRINK)
        except WirtError as error:
            for member in taken:
                member.stuck = time.monotonic() + member.backoff
                self._note(member, Act.SHRINK, Reason.STUCK, failure=error.message)
        finally:
            self.busy = False
            for member in taken:
                member.squeezing = False

    @staticmethod
    def _judge(member: Member, move: Move, held: Held) -> None:
        """Whoever gave nothing back is left alone for a while, twice as long each time."""
        if held.limit is not None and held.limit > move.after + PACE.least:
            member.stuck = time.monotonic() + member.backoff
            member.backoff = min(2 * member.backoff, MOST_BACKOFF)
        else:
            member.backoff = 1.0

    def _told(
        self, member: Member, before: int | None, after: int, held: Held, goal: Goal, act: Act
    ) -> None:
        name, after = member.guest.id, after // _PAGE * _PAGE
        if after == before and not held.failure:
            return  # only who waits at it has changed
        reason = rule(goal.reasons.get(name, Reason.HEADROOM), before=before, after=after)
        if held.failure:
            reason = Reason.STUCK
        self._note(
            member, act, reason, before=before, after=after, effect=held.limit,
            failure=held.failure, inputs=goal.inputs.get(name, {}),
        )  # fmt: skip

    def _note(
        self,
        member: Member,
        act: Act,
        reason: Reason,
        *,
        before: int | None = None,
        after: int | None = None,
        effect: int | None = None,
        failure: str = "",
        inputs: Mapping[str, float] | None = None,
    ) -> None:
        self._done.append(
            Change(
                at=time.time_ns(), guest=member.guest.id, resource=Resource.MEMORY, act=act,
                reason=reason, before=before, after=after, effect=effect, failure=failure,
                inputs=inputs or {},
            )
        )  # fmt: skip


def _astray(member: Member, wanted: int, least: int) -> bool:
    """Whether a fence is far enough from where it should be; the nearer it is, the less it may be
    wrong."""
    now = member.limit if member.limit is not None else UNLIMITED
    room = max(min(now, wanted) - (member.use or 0), 0)
    return abs(now - wanted) > max(room // 8, least // 8)


def _far(member: Member, wanted: Mapping[str, int]) -> bool:
    """Whether a fence moves by more than a quarter: less is no news."""
    now = member.limit
    return now is None or abs(now - wanted[member.guest.id]) > now // 4


def _quick(member: Member, move: Move) -> bool:
    return member.use is not None and move.after >= member.use + SLACK


def _counted(member: Member, capacity: int) -> int:
    return capacity if member.limit is None else min(member.limit, capacity)


def _patient(member: Member, goal: int, now: float) -> int:
    """Of a guest that gave nothing back of late only what it does not use is taken for a while."""
    if now >= member.stuck:
        return goal
    return max(goal, (member.use or 0) + SLACK + PACE.least)


def _holding(member: Member) -> Holding:
    limit = member.limit if member.limit is not None else UNLIMITED
    return Holding(
        limit=limit,
        use=member.use,
        stuck=member.squeezing,
        blind=member.use is None,
    )


def _read_back(member: Member, held: Held) -> None:
    if held.limit is not None:
        member.limit = None if held.limit < 0 else held.limit
    if held.use is not None:
        member.use = held.use
    if held.line is not None:
        member.most = None if held.line < 0 else held.line
