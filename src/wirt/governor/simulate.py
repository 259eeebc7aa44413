"""The closed loop without a kernel: model guests, the governor's decisions, the same writes.

A model guest touches its working set uniformly; what is not there is read, and read *again* when
it had to go for want of room. That is crude, and was enough to find every instability that real
guests showed later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wirt.governor.decide import State, decide
from wirt.governor.estimate import Tuning
from wirt.governor.movement import Holding, Reason, grows, shrinks
from wirt.governor.observe import Seen, Tick
from wirt.governor.tree import Group

PAGE = 4096
_BLOCK = 16
"""Pages that one touch reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a guest does now: bytes of its working set, and touches of it a second."""

    working_set: int
    touches: int


Profile = Callable[[int], Load]
"""The load at a tick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The world after a tick, by guest: limits, uses and why."""

    limits: Mapping[str, int]
    uses: Mapping[str, int]
    reasons: Mapping[str, Reason]
    moved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A host with ``capacity`` bytes for guests, ticking every ``seconds``."""

    root: Group
    profiles: Mapping[str, Profile]
    capacity: int
    seconds: float = 0.2
    tuning: Tuning = field(default_factory=Tuning)

    def run(self, ticks: int, *, first: Mapping[str, int] | None = None) -> Sequence[Moment]:
        """Let it run. ``first``: limits at the start, by default equal parts."""
        names = tuple(self.profiles)
        limits = dict(first or dict.fromkeys(names, self.capacity // len(names)))
        uses = dict.fromkeys(names, 0)
        state = State()
        moments = []
        for number in range(ticks):
            seen = {}
            for name in names:
                load = self.profiles[name](number)
                uses[name], refaults = _touch(load, uses[name], limits[name], self.seconds)
                seen[name] = Seen(memory=uses[name], memory_limit=limits[name], refaults=refaults)
            decision = decide(
                state, Tick(seconds=self.seconds, guests=seen), self.root,
                capacity=self.capacity, reserve=0, tuning=self.tuning,
            )  # fmt: skip
            state = decision.state
            moved = self._move(limits, uses, decision.memory.members, state)
            moments.append(
                Moment(limits=dict(limits), uses=dict(uses), reasons=decision.reasons, moved=moved)
            )
        return moments

    def _move(
        self,
        limits: dict[str, int],
        uses: dict[str, int],
        entitled: Mapping[str, int],
        state: State,
    ) -> int:
        holdings = {n: Holding(limit=limits[n], use=uses[n]) for n in limits}
        moved = 0
        for move in shrinks(holdings, entitled, seconds=self.seconds):
            limits[move.guest] = move.after
            uses[move.guest] = min(uses[move.guest], move.after)
            holdings[move.guest] = replace(holdings[move.guest], limit=move.after)
            moved += move.before - move.after
            assert sum(limits.values()) <= self.capacity
        hungry = frozenset(n for n, estimate in state.estimates.items() if estimate.hungry)
        for move in grows(holdings, entitled, capacity=self.capacity, first=hungry):
            limits[move.guest] = move.after
            assert sum(limits.values()) <= self.capacity
        return moved


def _touch(load: Load, use: int, limit: int, seconds: float) -> tuple[int, float]:
    """What a guest holds after a tick, and its refaults a second."""
    missing = max(load.working_set - use, 0)
    if not missing:
        return min(use, limit), 0.0
    pages = load.touches * seconds * _BLOCK * missing / load.working_set
    wanted = min(int(pages) * PAGE, missing)
    room = max(limit - use, 0)
    lost = max(wanted - room, 0)
    return min(use + wanted, limit), lost / PAGE / seconds
