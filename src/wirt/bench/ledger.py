"""Whose memory went to whom when a peak came: a day in stages, and what moved between them.

A stage has the mean of what each guest might have over its hours, so that what is lent for a moment
and given back is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wirt.bench.division import MIB, Parts, divides, hours, memory, plan_of
from wirt.bench.outcome import Run
from wirt.bench.workload import RAMP

NOBODY = "free"
"""Who has what nobody was given."""
_LEAST = 0.5
"""MiB that are worth a line."""
_ENDLESS = 6.0
"""Hours after which a peak is no peak but a new state of things."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Some hours of the day. ``held``: MiB by guest, with :data:`NOBODY`'s."""

    title: str
    begin: float
    end: float
    held: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """MiB that ``source`` had and ``target`` has now; what a guest kept goes from it to itself."""

    source: str
    target: str
    amount: float


def stages(run: Run) -> list[Stage]:
    """Night, each peak, evening. Empty where the policy divides no memory, or less than two of them
    were seen: nothing moved from one to another."""
    if not divides(run):
        return []
    owners: dict[tuple[float, float], list[str]] = {}
    for service in plan_of(run).scored:
        for peak in service.peaks:
            if peak[1] - peak[0] < _ENDLESS:
                owners.setdefault(peak, []).append(service.name)
    peaks = sorted(owners)
    if not peaks:
        return []
    spans = [("night", peaks[0][0] - RAMP - 3, peaks[0][0] - RAMP)]
    spans += [(f"peak of {' and '.join(owners[peak])}", *peak) for peak in peaks]
    spans.append(("evening", peaks[-1][1] + RAMP + 1, 24.0))
    when, parts = hours(run), memory(run)
    pool = plan_of(run).pool.memory / MIB
    made = [
        Stage(title=title, begin=begin, end=end, held=_held(when, parts, begin, end, pool))
        for title, begin, end in spans
        if any(begin <= hour <= end for hour in when)
    ]
    return made if len(made) > 1 else []


def _held(
    when: Sequence[float], parts: Parts, begin: float, end: float, pool: float
) -> dict[str, float]:
    inside = [step for step, hour in enumerate(when) if begin <= hour <= end]
    held = {
        name: sum(row[step].due for step in inside) / len(inside) for name, row in parts.items()
    }
    return {**held, NOBODY: max(pool - sum(held.values()), 0.0)}


def flows(before: Stage, after: Stage) -> list[Flow]:
    """What was kept and what moved, in the order of the guests. Who gained takes of all who lost,
    in proportion: memory has no name on it."""
    lost = {name: max(had - after.held[name], 0.0) for name, had in before.held.items()}
    gained = {name: max(after.held[name] - had, 0.0) for name, had in before.held.items()}
    moved = max(sum(lost.values()), sum(gained.values()))
    made = []
    for source, had in before.held.items():
        for target in before.held:
            amount = lost[source] * gained[target] / moved if moved else 0.0
            if source == target:
                amount = min(had, after.held[target])
            if amount >= _LEAST:
                made.append(Flow(source=source, target=target, amount=amount))
    return made


def moves(before: Stage, after: Stage) -> list[Flow]:
    """Only what moved, the largest first."""
    found = [one for one in flows(before, after) if one.source != one.target]
    return sorted(found, key=lambda one: -one.amount)
