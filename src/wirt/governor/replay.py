"""Recorded ticks decided again under other rules: another tuning, other claims, another host.

What guests held and read is as it was recorded; so this tells what everybody would have been
entitled to for the same load, not how the load would have answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from wirt.governor.admission import Host, Shortage, shortages
from wirt.governor.decide import Decision, State, decide
from wirt.governor.estimate import Tuning, need_of
from wirt.governor.journal import Frame
from wirt.governor.movement import Reason, margin
from wirt.governor.plan import Want, entitle
from wirt.governor.trace import Head, Label, Record, Scene
from wirt.governor.tree import Group, Member, Resource

MOST_SECONDS = 60.0
"""A gap between two ticks counts for no longer: nobody governed in it."""
SHARED = (Resource.CPU, Resource.MEMORY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is to be different. ``capacity``: units for all guests, None where as recorded.

    ``reserve``: bytes that the host keeps; ``claims``: what a guest, by name or id, is promised
    instead.
    """

    tuning: Tuning = field(default_factory=Tuning)
    capacity: Mapping[Resource, int] = field(default_factory=dict)
    reserve: int | None = None
    claims: Mapping[str, Callable[[Member], Member]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Tally:
    """One guest's day under one set of rules, of one resource.

    ``seconds``: that it was seen; ``entitled``: unit-seconds; ``least``, ``most``: units;
    ``unmet``: unit-seconds that it wanted and was not entitled to; ``short``: seconds in which it
    held more than it was entitled to; ``hungry``, ``taxed``, ``blind``: ticks.
    """

    seconds: float = 0.0
    entitled: float = 0.0
    least: int | None = None
    most: int = 0
    unmet: float = 0.0
    short: float = 0.0
    hungry: int = 0
    taxed: int = 0
    blind: int = 0

    def count(self, seconds: float, *, entitled: int, want: int, use: int | None) -> None:
        """One tick."""
        self.seconds += seconds
        self.entitled += entitled * seconds
        self.least = entitled if self.least is None else min(self.least, entitled)
        self.most = max(self.most, entitled)
        self.unmet += max(want - entitled, 0) * seconds
        if use is not None and use > entitled:
            self.short += seconds

    @property
    def mean(self) -> float:
        """Units that it was entitled to on average."""
        return self.entitled / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A promise that could not be kept at ``at``."""

    at: int
    shortage: Shortage


Side = dict[tuple[str, Resource], Tally]
"""Tallies by guest id and resource."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Both sides of a replay. ``refused``: what the other host could not have promised."""

    ticks: int = 0
    seconds: float = 0.0
    labels: dict[str, Label] = field(default_factory=dict)
    recorded: Side = field(default_factory=dict)
    replayed: Side = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)
    alarms: tuple[int, int] = (0, 0)
    """Ticks of alarm, as recorded and as replayed."""


def replay(records: Iterable[Record], rules: Rules) -> Outcome:
    """Decide every recorded tick again; those that are only there to learn from are not counted.
    Raises Invalid when the trace is no good."""
    player = _Player(rules)
    for record in records:
        if isinstance(record, Head):
            player.reserve = record.reserve if rules.reserve is None else rules.reserve
            player.hard, player.since = record.hard, record.since
        elif isinstance(record, Scene):
            player.scene(record)
        else:
            player.frame(record)
    return player.outcome


class _Player:
    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.reserve = rules.reserve or 0
        self.hard, self.since = False, 0
        self._state: State | None = None
        self._recorded = Group(name="")
        self._root = Group(name="")
        self._refused: set[tuple[str, Resource, bool]] = set()
        self._checked = True
        self.outcome = Outcome()

    def scene(self, scene: Scene) -> None:
        self.outcome.labels.update(scene.labels)
        self._recorded = scene.root
        claims = {}
        for guest, label in scene.labels.items():
            found = self._rules.claims.get(guest) or self._rules.claims.get(label.name)
            if found is not None:
                claims[guest] = found
        self._root = changed(scene.root, claims)
        self._checked = False

    def frame(self, frame: Frame) -> None:
        out = self.outcome
        seconds = min(frame.tick.seconds, MOST_SECONDS)
        capacity = {**frame.capacity, **self._rules.capacity}
        told = self._decide(frame, capacity)
        if frame.at < self.since:
            return
        out.ticks += 1
        out.seconds += seconds
        if not self._checked:
            self._check(frame.at, capacity)
        self._memory(frame, seconds, told)
        self._cpu(frame, seconds, capacity.get(Resource.CPU, 0))

    def _check(self, at: int, capacity: Mapping[Resource, int]) -> None:
        """What this host cannot promise; each is told once."""
        self._checked = True
        # capacities of frames are for guests: the reserve has been taken already
        host = Host(capacity={r: capacity[r] for r in SHARED if r in capacity}, reserve={})
        for found in shortages(self._root, host):
            key = (found.group, found.resource, found.floor)
            if key not in self._refused:
                self._refused.add(key)
                self.outcome.refused.append(Refusal(at=at, shortage=found))

    def _decide(self, frame: Frame, capacity: Mapping[Resource, int]) -> Decision:
        told = {
            name: share[Resource.MEMORY]
            for name, share in frame.shares.items()
            if Resource.MEMORY in share and share[Resource.MEMORY].entitled is not None
        }
        root = only(self._root, told.keys())
        tick = replace(frame.tick, guests={n: s for n, s in frame.tick.guests.items() if n in told})
        state = self._state or State(estimates=frame.learned, alarm=frame.alarm)
        memory = capacity.get(Resource.MEMORY, 0)
        decision = decide(
            state, tick, root, capacity=memory, reserve=self.reserve, tuning=self._rules.tuning,
            slack=margin(memory) if self.hard else 0, processors=capacity.get(Resource.CPU, 0),
            asleep=frame.asleep,
        )  # fmt: skip
        self._state = decision.state
        return decision

    def _memory(self, frame: Frame, seconds: float, decision: Decision) -> None:
        was, now = self.outcome.alarms
        self.outcome.alarms = was + (frame.alarm > 0), now + (decision.state.alarm > 0)
        claims = self._root.claims_to(Resource.MEMORY)
        for name, reason in decision.reasons.items():
            share = frame.shares[name][Resource.MEMORY]
            before = _tally(self.outcome.recorded, name, Resource.MEMORY)
            before.count(
                seconds, entitled=share.entitled or 0, want=share.demand or 0, use=share.use
            )
            _reason(before, frame.reasons.get(name))
            want = need_of(decision.state.estimates[name], claims[name], self._rules.tuning)
            after = _tally(self.outcome.replayed, name, Resource.MEMORY)
            after.count(seconds, entitled=decision.memory.members[name], want=want, use=share.use)
            _reason(after, reason)

    def _cpu(self, frame: Frame, seconds: float, capacity: int) -> None:
        demands = {
            name: share[Resource.CPU].demand or 0
            for name, share in frame.shares.items()
            if Resource.CPU in share
        }
        before = frame.capacity.get(Resource.CPU, 0)
        for side, root, units in (
            (self.outcome.recorded, self._recorded, before),
            (self.outcome.replayed, self._root, capacity),
        ):
            wants = {name: Want(amount=demand) for name, demand in demands.items()}
            found = entitle(only(root, demands.keys()), Resource.CPU, units, wants).members
            for name, amount in found.items():
                _tally(side, name, Resource.CPU).count(
                    seconds, entitled=amount, want=demands[name], use=None
                )


def _tally(side: Side, name: str, resource: Resource) -> Tally:
    return side.setdefault((name, resource), Tally())


def _reason(tally: Tally, reason: Reason | None) -> None:
    tally.hungry += reason is Reason.HUNGRY
    tally.taxed += reason is Reason.TAXED
    tally.blind += reason is Reason.BLIND


def only(root: Group, wanted: Iterable[str]) -> Group:
    """The same tree with only these guests; groups stay."""
    names = frozenset(wanted)
    children = tuple(
        child if isinstance(child, Member) else only(child, names)
        for child in root.children
        if isinstance(child, Group) or child.name in names
    )
    return replace(root, children=children)


def changed(root: Group, claims: Mapping[str, Callable[[Member], Member]]) -> Group:
    """The same tree with other claims of some guests, by id."""
    if not claims:
        return root
    children = tuple(
        changed(child, claims)
        if isinstance(child, Group)
        else (claims[child.name](child) if child.name in claims else child)
        for child in root.children
    )
    return replace(root, children=children)
