"""From runs to figures: pure, so that what is claimed can be tested without a kernel.

``OR`` in-deadline work against the oracle. ``SG`` and ``SGp``: completed work against static parts,
over the day and inside peaks. ``LR``: p99 at peaks against the oracle's, the worst guest. ``F``:
Jain's index of in-deadline work over what each was entitled to. ``RV``: guest-seconds below a
reservation. ``K``: kills and guests that did not live to the evening. ``T``, ``M``, ``O``: the
hand-over, memory moved, the governor's own cost.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wirt.bench import sleepers
from wirt.bench.outcome import Acts, Noise, Result, Run
from wirt.bench.policies import Policy
from wirt.bench.workload import CORE_COST, Office, Service, at, gain, office
from wirt.governor.fill import Slot, fill

TICK = 0.2
"""Seconds between two looks of the governor here."""
MOST_STEAL = 0.02
MOST_OTHERS = 0.10
"""Of all processors, and of those of the simulated host: they delay its disk and its governor, and
little else, since its guests weigh a hundred times what others do."""
LEAST_DONE = 0.99
"""Of what the oracle could do, where latency was not the policy's doing."""
_HOURS = tuple((step + 0.5) / 4 for step in range(96))
"""The middle of each quarter of an hour."""


def disturbed(noise: Noise) -> tuple[str, ...]:
    """Why a run with this noise must not count; empty when it may."""
    told = []
    if noise.steal > MOST_STEAL:
        told.append(f"{noise.steal:.1%} of the processors was stolen, at most {MOST_STEAL:.0%}")
    for used, what in ((noise.others, "the machine"), (noise.pinned, "the simulated host")):
        if used > MOST_OTHERS:
            told.append(f"others used {used:.1%} of {what}, at most {MOST_OTHERS:.0%}")
    return tuple(told)


def incomplete(run: Run) -> tuple[str, ...]:
    """Why an oracle does not count: it has to get (almost) everything done that there is processor
    time for."""
    if run.policy != Policy.ORACLE.value:
        return ()
    total = run.total()
    plan = office(run.variant, guests=run.guests, scale=run.scale)
    able = round(total.offered * feasible(plan))
    if able and total.done >= LEAST_DONE * able:
        return ()
    return (f"the oracle did {total.done} of {able} requests that there is time for",)


def feasible(plan: Office) -> float:
    """The part of all requests that the host's processor has time for, 0 to 1: less than 1 where
    peaks that meet ask for more than there is."""
    could = entitled(plan, len(_HOURS))
    asked = sum(at(one.load, hour) / CORE_COST for one in plan.scored for hour in _HOURS)
    return min(sum(could[one.name] for one in plan.scored) / asked, 1.0)


def ratio(one: float, other: float) -> float | None:
    """None where there is nothing to divide by: such a gain is not printed."""
    return one / other if other else None


def jain(shares: Sequence[float]) -> float:
    """1: all are served alike. 1/n: one alone is. 1 of nothing."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def entitled(plan: Office, seconds: int) -> dict[str, float]:
    """Requests of a day that each service's share of the processor lets it do, none above what is
    asked. By weighted max-min, as the governor divides, in steps of a quarter of an hour."""
    made = dict.fromkeys((one.name for one in plan.services), 0.0)
    capacity = round(plan.pool.cpus * 1e6)
    for hour in _HOURS:
        slots = [_slot(one, hour, capacity) for one in plan.services]
        for name, given in fill(capacity, slots).items():
            made[name] += given / 1e6 / CORE_COST * seconds / len(_HOURS)
    return made


def _slot(service: Service, hour: float, capacity: int) -> Slot:
    load = capacity if service.hogs else min(round(at(service.load, hour) * 1e6), capacity)
    return Slot(key=service.name, floor=0, ceiling=load, weight=service.shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One seed's figures of a policy; None where nothing can be said."""

    policy: str
    oracle: float | None
    static: float | None
    static_peak: float | None
    peak_vmlike: float | None
    linux: float | None
    latency: float | None
    fairness: float
    done: float
    met: float
    met_peak: float
    p99_peak: float
    violations: float
    kills: int
    acts: Acts | None


def score(run: Run, others: Mapping[Policy, Run]) -> Score:
    """A run against the others of the same seed."""
    day, peak = run.total(), run.total(peak=True)

    def against(policy: Policy, figure: Callable[[Run], float]) -> float | None:
        other = others.get(policy)
        return None if other is None else ratio(figure(run), figure(other))

    plan = office(run.variant, guests=run.guests, scale=run.scale)
    return Score(
        policy=run.policy,
        oracle=against(Policy.ORACLE, lambda r: r.total().met),
        static=against(Policy.STATIC, lambda r: r.total().done),
        static_peak=against(Policy.STATIC, lambda r: r.total(peak=True).done),
        peak_vmlike=against(Policy.VMLIKE, lambda r: r.total(peak=True).met),
        linux=against(Policy.LINUX, lambda r: r.total().met),
        latency=_latency(run, others.get(Policy.ORACLE)),
        fairness=_fairness(run.scored, entitled(plan, run.seconds)),
        done=ratio(day.done, day.offered) or 0.0,
        met=ratio(day.met, day.offered) or 0.0,
        met_peak=ratio(peak.met, peak.offered) or 0.0,
        p99_peak=peak.p99,
        violations=run.acts.violations if run.acts else 0.0,
        kills=kills(run.results),
        acts=run.acts,
    )


def kills(results: Iterable[Result]) -> int:
    """Kills for want of memory, and guests that were gone before the evening."""
    return sum(max(one.kills, int(not one.whole)) for one in results)


def _latency(run: Run, oracle: Run | None) -> float | None:
    if oracle is None:
        return None
    best = {one.name: one.peak.p99 for one in oracle.scored}
    found = [ratio(one.peak.p99, best.get(one.name, 0.0)) for one in run.scored]
    return max((value for value in found if value is not None), default=None)


def _fairness(results: Sequence[Result], allowed: Mapping[str, float]) -> float:
    return jain([one.day.met / allowed[one.name] for one in results if allowed[one.name] > 0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of several seeds: the median and the range."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.least:.2f}-{self.most:.2f})"


def spread(values: Iterable[float | None]) -> Spread | None:
    """Of the values that are there; None when none is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(median=statistics.median(known), least=min(known), most=max(known))


def by_seed(runs: Iterable[Run]) -> dict[int, dict[Policy, Run]]:
    """The runs that count: those not disturbed, of seeds whose oracle counts where there is one."""
    found: dict[int, dict[Policy, Run]] = {}
    spoiled: set[int] = set()
    for run in runs:
        if run.policy == Policy.ORACLE.value and run.invalid:
            spoiled.add(run.seed)
        if not run.invalid:
            found.setdefault(run.seed, {})[Policy(run.policy)] = run
    return {seed: those for seed, those in sorted(found.items()) if seed not in spoiled}


def scores(runs: Iterable[Run], policy: Policy) -> list[Score]:
    """A policy's scores, one a seed."""
    return [score(those[policy], those) for those in by_seed(runs).values() if policy in those]


def line(run: Run, those: Mapping[Policy, Run]) -> str:
    """A run in one line, for people and for grep."""
    made = score(run, those)
    most = gain(office(run.variant, guests=run.guests, scale=run.scale).services)
    parts = [
        f"officeday {run.variant} {run.guests} {run.policy}{' tcg' if run.emulated else ''}:",
        f"done {made.done:.1%}",
        f"in deadline {made.met:.1%}, at peak {made.met_peak:.1%}",
        *_figure("OR", made.oracle),
        *_figure("SG", made.static, "x"),
        *_figure("SGp", made.static_peak, "x"),
        *_figure("LR", made.latency),
        f"F {made.fairness:.2f}",
        f"RV {made.violations:.1f}",
        f"K {made.kills}",
    ]
    if made.acts is not None:
        late = made.acts.handover
        parts.append("T never" if late is None else f"T {late:.1f}s")
        parts.append(f"M {made.acts.moved:.1f}MiB/s O {made.acts.cost:.1f}%")
    parts.append(f"(G {most.cpu:.1f}/{most.memory:.1f})")
    parts.append(f"noise {run.noise.others:.2f}/{run.noise.pinned:.2f}")
    if run.naps is not None:
        parts.append(f"({sleepers.told(run.naps)})")
    if run.invalid:
        parts.append(f"INVALID: {'; '.join(run.invalid)}")
    return " ".join(parts)


def _figure(name: str, value: float | None, unit: str = "") -> list[str]:
    return [] if value is None else [f"{name} {value:.2f}{unit}"]
