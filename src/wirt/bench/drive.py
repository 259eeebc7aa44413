"""One day under one policy: make the guests, let the day begin, look, collect, judge."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wirt.bench import governing, watch
from wirt.bench.fleet import IMAGE, PROGRAM, Fleet, Order, pause_until
from wirt.bench.host import Host, simulated
from wirt.bench.outcome import Acts, Result, Run, read, result
from wirt.bench.policies import Policy, confined, promise, resources
from wirt.bench.score import disturbed, incomplete
from wirt.bench.sleepers import Sleepers
from wirt.bench.workload import CONTAINER, PATIENCE, Day, Office, words
from wirt.linux import spawn

GRACE = 20.0
"""Seconds after the evening in which a guest has to end."""
LEAD = 2.0
"""Seconds before its work begins at which a late guest is started."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured. ``scale`` is the office's. ``traces``: where the governor's days are kept
    as traces, None: nowhere."""

    office: Office
    scale: float
    seconds: int
    policies: Sequence[Policy]
    seeds: Sequence[int]
    name: str = "officeday"
    swap: bool = True
    traces: Path | None = None


def measure(plan: Plan, say: Say) -> Generator[Run, None, None]:
    """Every policy with every seed, all policies of a seed before the next one.

    Close it to end early. Raises what :func:`~wirt.bench.host.simulated` does.
    """
    with simulated(plan.office, plan.name, swap=plan.office.swap if plan.swap else 0) as host:
        fleet = Fleet(host.daemon())
        fleet.bring_image(host.native / PROGRAM)
        kinds = sorted({one.kind for one in plan.office.services})
        iterations = {kind: fleet.calibrate(kind) for kind in kinds}
        told = ", ".join(f"{kind} {count}" for kind, count in iterations.items())
        say(f"a request is so many iterations: {told}")
        for seed in plan.seeds:
            day = Day(seconds=plan.seconds, seed=seed, iterations=iterations)
            for policy in plan.policies:
                yield _Session(plan, host, fleet, day).under(policy)


class _Session:
    """One seed's day on a running host."""

    def __init__(self, plan: Plan, host: Host, fleet: Fleet, day: Day) -> None:
        self._plan = plan
        self._office = plan.office
        self._host = host
        self._fleet = fleet
        self._day = day

    def under(self, policy: Policy) -> Run:
        """The day under one policy."""
        with self._governed(policy), self._peopled(policy), self._sleepers(policy) as asleep:
            paths = {n: self._host.layout.cgroup(i) for n, i in self._fleet.ids.items()}
            before, began = self._machine(), time.time_ns()
            with watch.Watch(self._host.cgroups, paths) as seen:
                self._pass_day(asleep)
            after = self._machine()
            noise = watch.noise(before, after, self._host.pinned)
            acts, looks = None, seen.looks
            if policy is Policy.GOVERNOR:
                told = self._governors(began)
                acts = self._acts(seen.looks, told, watch.grown(before.servants, after.servants))
                machines = [one.name for one in self._office.services if one.kind != CONTAINER]
                looks = {
                    **looks,
                    **{n: watch.inside(looks[n], _as_looks(told[n])) for n in machines},
                }
                self._keep_trace(began)
            run = Run(
                variant=self._office.variant, guests=self._office.guests, policy=policy.value,
                seed=self._day.seed, seconds=self._day.seconds, scale=self._plan.scale,
                results=self._results(seen.kills), noise=noise, acts=acts,
                emulated="tcg" in self._fleet.accelerators(),
                series=watch.series(looks, self._day),
                naps=None if asleep is None else asleep.naps(),
            )  # fmt: skip
        return replace(run, invalid=disturbed(noise) + incomplete(run))

    @contextmanager
    def _sleepers(self, policy: Policy) -> Iterator[Sleepers | None]:
        """Guests that sleep; only the governor lets anybody sleep."""
        if not self._office.sleepers or policy is not Policy.GOVERNOR:
            yield None
            return
        with Sleepers(self._host.daemon(), IMAGE, self._office.sleepers) as made:
            made.wait()
            yield made

    def _pass_day(self, asleep: Sleepers | None) -> None:
        began = time.monotonic()
        services = sorted(self._office.services, key=lambda one: one.begins)
        self._fleet.begin(*(one for one in services if not one.begins))
        for one in services:
            if one.begins:
                due = began + self._day.milliseconds(one.begins) / 1000
                pause_until(due - LEAD)
                self._fleet.join(one, due)
        if asleep is not None:
            for hour in range(1, 24):
                pause_until(began + self._day.milliseconds(hour) / 1000)
                asleep.call(hour)
        self._fleet.end(began + self._day.seconds, PATIENCE + GRACE)

    @contextmanager
    def _governed(self, policy: Policy) -> Iterator[None]:
        """With the host's memory bounded as the policy has it, by the governor or by hand."""
        daemon = self._host.daemon()
        if policy is Policy.GOVERNOR:
            governing.rule(daemon, self._office.pool)
        else:
            governing.rest(daemon)
        self._host.bound(self._office.pool.memory if confined(policy) else None)
        yield

    @contextmanager
    def _peopled(self, policy: Policy) -> Iterator[None]:
        orders = [
            Order(
                service=one,
                words=words(one, number, self._day),
                resources=resources(policy, one, self._office),
            )
            for number, one in enumerate(self._office.services)
        ]
        try:
            self._fleet.make(orders)
            yield
        finally:
            self._fleet.remove()

    def _results(self, kills: Mapping[str, int]) -> tuple[Result, ...]:
        logs = self._fleet.logs()
        return tuple(
            result(
                one,
                read(logs[one.name]),
                self._day,
                planned=self._planned(words(one, number, self._day)),
                kills=kills[one.name],
            )
            for number, one in enumerate(self._office.services)
        )

    def _planned(self, arguments: Sequence[str]) -> list[int]:
        """The arrivals of a day, as the generator itself plans them."""
        kept = [w for w in arguments if w.partition("=")[0] in {"day", "seed", "rate"}]
        program = str(self._host.native / PROGRAM)
        return [int(at) for at in json.loads(spawn.run_sync([program, "plan", *kept]).text)]

    def _governors(self, began: int) -> dict[str, Sequence[governing.Moment]]:
        """What the governor saw of each service since Unix nanoseconds."""
        told = governing.moments(self._host.daemon(), began)
        return {name: told.get(guest, ()) for name, guest in self._fleet.ids.items()}

    def _acts(
        self,
        looks: Mapping[str, Sequence[watch.Look]],
        seen: Mapping[str, Sequence[governing.Moment]],
        spent: float,
    ) -> Acts:
        """``spent``: processor seconds of daemon and helper."""
        looks = {name: _as_looks(seen[name]) or looks[name] for name in seen}
        scored = self._office.scored
        waits = [watch.handover(looks[one.name], one, self._day) for one in scored]
        known = [wait for wait in waits if wait is not None]
        violations = 0.0
        for one in scored:
            promised = promise(one, self._office)
            violations += governing.broken(
                seen[one.name], millis=promised.millis, memory=promised.memory
            )
        return Acts(
            handover=max(known) if len(known) == len(waits) else None,
            moved=watch.moved(looks),
            cost=spent / self._day.seconds * 100,
            violations=violations,
            disk=self._fleet.divides_disk,
        )

    def _keep_trace(self, began: int) -> None:
        if self._plan.traces is None:
            return
        day = f"{self._office.variant}-{self._office.guests}-{self._day.seed}"
        with (self._plan.traces / f"{day}.trace").open("wb") as file:
            file.writelines(governing.trace(self._host.daemon(), began))

    def _machine(self) -> watch.Machine:
        host = self._host
        return watch.machine(host.cgroups, host.group, host.servants(), host.others())


def _as_looks(seen: Sequence[governing.Moment]) -> list[watch.Look]:
    """What the governor saw, which knows the size of a machine's balloon."""
    return [watch.Look(at=one.at, cpu=None, memory=one.memory, limit=one.limit) for one in seen]
