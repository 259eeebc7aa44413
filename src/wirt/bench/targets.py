"""What the governor has to reach, by column: a variant with a kind of guest.

Each figure is the median over the seeds; ``least`` or ``most`` says which way is good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wirt.bench.outcome import Run
from wirt.bench.policies import Policy
from wirt.bench.score import TICK, Score, Spread, scores, spread

COLUMNS: Mapping[str, tuple[str, str]] = {
    "polite": ("polite", "container"),
    "backup": ("backup", "container"),
    "greedy": ("greedy", "container"),
    "cold": ("cold", "container"),
    "microvm": ("polite", "microvm"),
    "overlap": ("overlap", "container"),
    "oom": ("oom", "container"),
    "failover": ("failover", "container"),
    "mixed": ("polite", "mixed"),
}
"""Name of a column to variant and kind of guests. The last four have no targets."""
TARGETED = ("polite", "backup", "greedy", "cold", "microvm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One line of the table. ``bounds``: in the order of :data:`TARGETED`, None: no target."""

    title: str
    figure: Callable[[Score], float | None]
    bounds: tuple[float | None, ...]
    least: bool = True

    def bound(self, column: str) -> float | None:
        """What a column has to reach."""
        return self.bounds[TARGETED.index(column)] if column in TARGETED else None

    def reached(self, column: str, value: float) -> bool | None:
        """Whether a median is good enough; None without a target."""
        bound = self.bound(column)
        if bound is None:
            return None
        return value >= bound if self.least else value <= bound


def _ticks(score: Score) -> float | None:
    late = score.acts.handover if score.acts else None
    return None if late is None else late / TICK


def _cost(score: Score) -> float | None:
    return score.acts.cost if score.acts else None


TARGETS = (
    Target(title="in-deadline work against the oracle", figure=lambda s: s.oracle,
           bounds=(0.97, 0.95, 0.90, 0.90, 0.90)),
    Target(title="completed work against static parts", figure=lambda s: s.static,
           bounds=(1.5, 1.6, 1.5, 1.5, 1.5)),
    Target(title="the same inside peaks", figure=lambda s: s.static_peak,
           bounds=(2.2, 2.8, 2.2, 2.2, 2.0)),
    Target(title="in-deadline at peaks against fixed memory", figure=lambda s: s.peak_vmlike,
           bounds=(4.0, 4.0, 4.0, 4.0, 3.0)),
    Target(title="in-deadline against plain Linux shares", figure=lambda s: s.linux,
           bounds=(0.97, 2.0, 2.0, 1.0, None)),
    Target(title="p99 at peak against the oracle", figure=lambda s: s.latency,
           bounds=(2.0, 2.5, 4.0, 3.0, 3.0), least=False),
    Target(title="hand-over of a peak, ticks of 0.2 s", figure=_ticks,
           bounds=(15, 25, 25, 25, 75), least=False),
    Target(title="guest-seconds below a reservation", figure=lambda s: s.violations,
           bounds=(0, 0, 0, 0, 0), least=False),
    Target(title="kills for want of memory, guests lost", figure=lambda s: s.kills,
           bounds=(0, 0, 0, 0, 0), least=False),
    Target(title="the governor's own cost, % of a core", figure=_cost,
           bounds=(2.0, 2.0, 2.0, 2.0, 2.0), least=False),
)  # fmt: skip


def of_column(runs: Iterable[Run], column: str) -> list[Run]:
    """The runs that belong to a column."""
    variant, guests = COLUMNS[column]
    return [run for run in runs if run.variant == variant and run.guests == guests]


def reached(target: Target, runs: Sequence[Run]) -> Spread | None:
    """What the governor came to in these runs of one column; None when it cannot be said."""
    return spread(target.figure(one) for one in scores(runs, Policy.GOVERNOR))
