"""How a policy divided the host through a day: what each guest held, might have, and lacked.

Memory is MiB, processor time cores. What a guest needs is known, for the benchmark asks for it:
the load and the working set of its service. Nobody knows what an antagonist needs, so it lacks
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wirt.bench.outcome import Run
from wirt.bench.policies import MACHINE_OVERHEAD, MACHINE_SIZE, Policy, confined, scaled
from wirt.bench.workload import CONTAINER, Office, Service, at, office

MIB = 1 << 20
_FIXED = frozenset({Policy.STATIC, Policy.VMLIKE})
_AROUND = 3
"""Steps before and after one over which a need of processor time is judged: requests come by
chance, and within an hour of such a day their number is within some percent of what is expected."""
_CHANCE = 0.1
"""Less than this part of a need says nothing, for that reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One guest's part at one moment. ``due``: what it might have, at least what it used."""

    used: float
    due: float
    lacked: float


Parts = Mapping[str, Sequence[Part]]
"""By service; as many of each as there are :func:`hours`."""


def plan_of(run: Run) -> Office:
    """The office that the run was a day of."""
    return office(run.variant, guests=run.guests, scale=run.scale)


def _served(run: Run) -> list[Service]:
    """The services that were looked at, in the office's order."""
    return [one for one in plan_of(run).services if run.series.get(one.name)]


def hours(run: Run) -> list[float]:
    """The office's hour of each step; nothing when nobody looked."""
    rows = [run.series[one.name] for one in _served(run)]
    length = min((len(row) for row in rows), default=0)
    return [row[0] for row in rows[0][:length]] if rows else []


def memory(run: Run) -> Parts:
    """Of a machine with what its emulator takes."""
    plan, policy, when = plan_of(run), Policy(run.policy), hours(run)
    services = _served(run)
    pool = plan.pool.memory / MIB
    used = {one.name: [_held(run, one, n) for n in range(len(when))] for one in services}
    made: dict[str, list[Part]] = {one.name: [] for one in services}
    for step, hour in enumerate(when):
        free = max(pool - sum(row[step] for row in used.values()), 0.0)
        for one in services:
            held = used[one.name][step]
            limit = pool / len(plan.services) if policy in _FIXED else _limit(run, one, step)
            could = limit if limit is not None else held + free if confined(policy) else None
            need = needed(one, hour, plan)
            made[one.name].append(
                Part(
                    used=held,
                    due=held if limit is None else max(limit, held),
                    lacked=0.0 if could is None else max(need - max(could, held), 0.0),
                )
            )
    return made


def needed(service: Service, hour: float, plan: Office) -> float:
    """MiB of memory, with what a machine's emulator takes."""
    return 0.0 if service.antagonist else at(service.working_set, hour) + _overhead(service, plan)


def asked(service: Service, hour: float) -> float:
    """Cores."""
    return 0.0 if service.antagonist else at(service.load, hour)


def divides(run: Run) -> bool:
    """Whether the run tells how much memory the governor let each guest have."""
    served = _served(run)
    return (
        Policy(run.policy) is Policy.GOVERNOR
        and bool(hours(run))
        and all(any(_limit(run, one, n) for n in range(len(hours(run)))) for one in served)
    )


def _own(run: Run, service: Service, step: int) -> bool:
    """Whether a machine's figures are its guest's own, not those of the emulator's control group,
    whose limit is far above the machine's size."""
    if service.kind == CONTAINER:
        return False
    most = scaled(MACHINE_SIZE, plan_of(run)) / MIB
    return 0 < run.series[service.name][step][2] <= most


def _held(run: Run, service: Service, step: int) -> float:
    extra = _overhead(service, plan_of(run)) if _own(run, service, step) else 0.0
    return run.series[service.name][step][1] + extra


def _limit(run: Run, service: Service, step: int) -> float | None:
    """None where the policy set none."""
    if Policy(run.policy) is not Policy.GOVERNOR:
        return None
    limit = run.series[service.name][step][2]
    if service.kind == CONTAINER:
        return limit or None
    return limit + _overhead(service, plan_of(run)) if _own(run, service, step) else None


def _overhead(service: Service, plan: Office) -> float:
    return 0.0 if service.kind == CONTAINER else scaled(MACHINE_OVERHEAD, plan) / MIB


def cpu(run: Run) -> Parts:
    """``due`` is what was used: what a processor does not do at once cannot be kept for later."""
    when = hours(run)
    return {one.name: _cpu(run, one, when) for one in _served(run)}


def _cpu(run: Run, service: Service, when: Sequence[float]) -> list[Part]:
    used = [row[3] for row in run.series[service.name][: len(when)]]
    needs = [asked(service, hour) for hour in when]
    made = []
    for step, cores in enumerate(used):
        near = slice(max(step - _AROUND, 0), step + _AROUND + 1)
        need = sum(needs[near]) / len(needs[near])
        lacked = need - sum(used[near]) / len(used[near])
        known = lacked > _CHANCE * need and not service.antagonist
        made.append(Part(used=cores, due=cores, lacked=lacked if known else 0.0))
    return made
