"""What a guest's load generator told, and what a whole run came to; both as plain values.

The lines come out of a guest and are checked as anything else that does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from wirt.bench.sleepers import Naps
from wirt.bench.workload import DEADLINE, PATIENCE, Day, Service
from wirt.errors import Invalid

LOST = -1
_MOST_REQUESTS = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One guest's day. ``offered``: requests scheduled. ``start``: Unix microseconds, 0: never.

    ``ends``: scheduled arrival and latency in microseconds of each request that came to an end;
    a latency of :data:`LOST` where nobody waited any more. ``whole``: it lived to the evening.
    """

    offered: int = 0
    start: int = 0
    ends: tuple[tuple[int, int], ...] = ()
    whole: bool = False


def read(text: str) -> Served:
    """The generator's lines; a last one that was cut off by the guest's end is left out.

    Raises Invalid for lines that are not its own.
    """
    offered, start, whole = 0, 0, False
    ends: list[tuple[int, int]] = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        try:
            told: dict[str, Any] = dict(json.loads(line))
            if "ready" in told:
                offered = _whole(told["ready"]["offered"], _MOST_REQUESTS)
            elif "start" in told:
                start = _whole(told["start"], 2**60)
            elif "done" in told:
                ends.extend((_whole(at, 2**40), _latency(took)) for at, took in told["done"])
            else:
                whole = "offered" in told["end"]
        except (ValueError, KeyError, TypeError) as error:
            raise Invalid(
                f"the load generator told {line[:80]!r}", hint="is the guest's image its own?"
            ) from error
    if len(ends) > offered:
        raise Invalid(f"the load generator tells of {len(ends)} requests, {offered} were offered")
    return Served(offered=offered, start=start, ends=tuple(ends), whole=whole)


def _whole(value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(value)
    return value


def _latency(value: object) -> int:
    return LOST if value == LOST else _whole(value, 2**31)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Requests of some part of the day. ``met``: inside the deadline."""

    offered: int = 0
    done: int = 0
    met: int = 0
    p50: float = 0.0
    p99: float = 0.0
    """Milliseconds; a lost request counts as the whole patience."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One service's day. ``hours``: p50 and p99 of each office hour, None where nothing came.

    ``kills``: processes that the kernel killed for want of memory. ``whole``: it lived on.
    """

    name: str
    antagonist: bool
    day: Count
    peak: Count
    hours: tuple[tuple[float, float] | None, ...]
    kills: int = 0
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Parts of the machine's processor time, 0 to 1. ``others``: used by neither us nor guests.

    ``pinned``: the same of the simulated host's own processors. ``steal``: taken by a hypervisor.
    """

    others: float = 0.0
    pinned: float = 0.0
    steal: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Acts:
    """What the governor did. ``handover``: seconds from a service's demand to its limit at 90 % of
    the peak, the worst; None when the limit never came. ``moved``: MiB a second. ``cost``: percent
    of a core. ``violations``: guest-seconds below a reservation. ``disk``: it was divided too."""

    handover: float | None = None
    moved: float = 0.0
    cost: float = 0.0
    violations: float = 0.0
    disk: bool = False


Series = Mapping[str, Sequence[tuple[float, float, float, float]]]
"""By guest: hour, MiB in use, MiB allowed, cores used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One day under one policy. ``invalid``: why it must not count, empty when it may. ``naps``: of
    guests that slept meanwhile."""

    variant: str
    guests: str
    policy: str
    seed: int
    seconds: int
    scale: float
    results: tuple[Result, ...]
    noise: Noise = field(default_factory=Noise)
    acts: Acts | None = None
    emulated: bool = False
    invalid: tuple[str, ...] = ()
    series: Series = field(default_factory=dict)
    naps: Naps | None = None

    @property
    def scored(self) -> tuple[Result, ...]:
        """Without antagonists."""
        return tuple(one for one in self.results if not one.antagonist)

    @property
    def key(self) -> tuple[str, str, str, int, int, float]:
        """What makes it another run than others."""
        return (self.variant, self.guests, self.policy, self.seed, self.seconds, self.scale)

    def total(self, *, peak: bool = False) -> Count:
        """Requests of all scored services; latencies are those of the worst."""
        counts = [one.peak if peak else one.day for one in self.scored]
        return Count(
            offered=sum(c.offered for c in counts),
            done=sum(c.done for c in counts),
            met=sum(c.met for c in counts),
            p50=max((c.p50 for c in counts), default=0.0),
            p99=max((c.p99 for c in counts), default=0.0),
        )


def result(
    service: Service, served: Served, day: Day, *, planned: Sequence[int], kills: int = 0
) -> Result:
    """What a service's day came to. ``planned``: its scheduled arrivals in microseconds, also of
    those that a guest which died could not tell of."""
    told = dict(served.ends)
    pairs = [(at, told.get(at, LOST)) for at in planned]
    hours: list[list[int]] = [[] for _ in range(24)]
    for at, took in pairs:
        hours[min(int(day.hour(at / 1e6)), 23)].append(took)
    return Result(
        name=service.name,
        antagonist=service.antagonist,
        day=count([took for _, took in pairs]),
        peak=count([took for at, took in pairs if service.in_peak(day.hour(at / 1e6))]),
        hours=tuple(
            (quantile(tooks, 0.5), quantile(tooks, 0.99)) if tooks else None for tooks in hours
        ),
        kills=kills,
        whole=served.whole,
    )


def count(latencies: Sequence[int]) -> Count:
    """Of latencies in microseconds."""
    done = [took for took in latencies if took != LOST]
    return Count(
        offered=len(latencies),
        done=len(done),
        met=sum(took <= DEADLINE * 1e6 for took in done),
        p50=quantile(latencies, 0.5),
        p99=quantile(latencies, 0.99),
    )


def quantile(latencies: Sequence[int], part: float) -> float:
    """Milliseconds; the nearest rank. 0 of nothing."""
    if not latencies:
        return 0.0
    ranked = sorted(PATIENCE * 1e6 if took == LOST else took for took in latencies)
    return ranked[min(int(part * len(ranked)), len(ranked) - 1)] / 1000


def as_json(run: Run) -> dict[str, Any]:
    """For a file; :func:`from_json` makes the run of it again."""
    return asdict(run)


def from_json(told: Mapping[str, Any]) -> Run:
    """Raises KeyError or TypeError for what :func:`as_json` did not write."""
    results = tuple(
        Result(
            **{
                **one,
                "day": Count(**one["day"]),
                "peak": Count(**one["peak"]),
                "hours": tuple(None if h is None else tuple(h) for h in one["hours"]),
            }
        )
        for one in told["results"]
    )
    acts = None if told["acts"] is None else Acts(**told["acts"])
    series = {name: tuple(map(tuple, rows)) for name, rows in told["series"].items()}
    return Run(
        **{
            **told,
            "results": results,
            "noise": Noise(**told["noise"]),
            "acts": acts,
            "invalid": tuple(told["invalid"]),
            "series": series,
            "naps": None if told.get("naps") is None else Naps(**told["naps"]),
        }
    )
