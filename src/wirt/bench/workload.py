"""The office: four services whose peaks follow one another, and neighbours that disturb them.

Everything here is a pure function of variant, kind of guest and scale. Loads are fractions of one
core, working sets MiB, hours 0 to 24. Figures: what an ordinary office asks of its servers, sized
so that the sum of the peaks is 2.8 cores and 1,160 MiB while one core and 512 MiB hold any hour.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from wirt.errors import Invalid

CORE_COST = 0.004
"""Seconds of one core that a request takes whose data is in memory, with the touching of it."""
DEADLINE = 0.25
PATIENCE = 2.0
"""Seconds after which nobody waits for an answer any more."""
RAMP = 0.5
NORMAL_SHARES = 1000
Points = tuple[tuple[float, float], ...]
"""Hours, rising, and values; straight lines between."""

CONTAINER = "container"
VARIANTS = ("polite", "backup", "greedy", "cold", "oom", "overlap", "failover", "idle50")
KINDS = ("container", "microvm", "vm", "mixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One guest's work. ``peaks``: from hour to hour, without the ramps.

    ``load``: fraction of a core asked for. ``working_set``: MiB touched. ``anonymous``: percent of
    it that is memory and not file; ``gives_back``: memory is freed after the peak. ``antagonist``:
    disturbs and is not scored. ``begins``: the hour at which its guest's work begins.
    """

    name: str
    load: Points
    working_set: Points
    kind: str = CONTAINER
    anonymous: int = 0
    gives_back: bool = True
    shares: int = NORMAL_SHARES
    antagonist: bool = False
    peaks: tuple[tuple[float, float], ...] = ()
    hogs: int = 0
    streams: bool = False
    begins: float = 0.0

    @property
    def peak_set(self) -> float:
        """MiB of its largest working set."""
        return max(value for _, value in self.working_set)

    @property
    def file(self) -> float:
        """MiB of file that it needs."""
        return self.peak_set * (100 - self.anonymous) / 100

    def rate(self) -> Points:
        """Requests a second."""
        return tuple((hour, load / CORE_COST) for hour, load in self.load)

    def in_peak(self, hour: float) -> bool:
        """Whether that hour lies in a peak."""
        return any(start <= hour < end for start, end in self.peaks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The simulated host. ``cpus``: cores. ``memory``: bytes. ``reads``: of its disk, a second."""

    cpus: float
    memory: int
    reads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A variant ready to run."""

    variant: str
    guests: str
    services: tuple[Service, ...]
    pool: Pool
    swap: int
    """Bytes of compressed memory as swap."""
    sleepers: int = 0
    """Guests beside the services that are paused for having nothing to do."""

    @property
    def scored(self) -> tuple[Service, ...]:
        """The services that are no antagonists."""
        return tuple(one for one in self.services if not one.antagonist)


_SHAPES: Mapping[str, tuple[tuple[float, float], float, float, float, float]] = {
    # peak hours, load at peak and base, working set at peak and base
    "dc": ((7.5, 9.5), 0.70, 0.035, 300, 40),
    "mail": ((10.5, 12.5), 0.70, 0.035, 280, 30),
    "print": ((14.0, 16.0), 0.70, 0.035, 280, 30),
    "erp": ((17.5, 19.5), 0.70, 0.035, 300, 40),
}
_ANONYMOUS = {"dc": (25, True), "mail": (0, True), "print": (0, True), "erp": (100, False)}
_OVERLAP = ((8.0, 10.0), 0.65)
_OVERLAP_SHARES = {"dc": 2000}
_ANTAGONIST_SHARES = 100
_SWAP: Mapping[str, float] = {"oom": 0.0, "cold": 2.0}
"""Parts of the host's memory, where it is not half of it: cold memory has to fit somewhere in the
evening, whoever divides it."""
_FAILOVER = (9.0, 0.10, 60.0, 100.0)
"""Hour, load, and MiB of working set when the other host's guest comes here, and later on."""
_SLEEPERS: Mapping[str, int] = {"idle50": 50}
_SLEEPER_MIB = 24
"""What the host has for each of them: a guest that could wake at any time is given some room."""
_STREAM_MIB = 1536.0
_GREEDY_MIB = 1480.0
_GREEDY_RATE = 30.0


def office(variant: str, *, guests: str = "container", scale: float = 1.0) -> Office:
    """The services and the host of a variant. Raises Invalid for unknown words, or a scale that is
    not between 0.1 and 64."""
    if variant not in VARIANTS:
        raise Invalid(f"unknown variant {variant!r}", hint=f"one of {', '.join(VARIANTS)}")
    if guests not in KINDS:
        raise Invalid(f"unknown kind of guests {guests!r}", hint=f"one of {', '.join(KINDS)}")
    if not 0.1 <= scale <= 64:
        raise Invalid(f"a scale of {scale:g} is out of range", hint="write 0.1 to 64")
    emulated = 1.0 if guests == "container" else 0.5
    services = [_service(name, variant, emulated) for name in _SHAPES]
    services += _antagonists(variant, emulated) + _late(variant, emulated)
    kinds = {"mixed": itertools.cycle(("microvm", "container"))}
    chosen = kinds.get(guests, itertools.repeat(guests))
    memory = 512 if guests == "container" else 1024 if guests == "mixed" else 1536
    sleepers = _SLEEPERS.get(variant, 0)
    memory += sleepers * _SLEEPER_MIB
    return Office(
        variant=variant,
        guests=guests,
        services=tuple(
            _scaled(replace(one, kind=kind), scale)
            for one, kind in zip(services, chosen, strict=False)
        ),
        pool=Pool(cpus=scale, memory=round(memory * scale) << 20, reads=round(2000 * scale)),
        swap=round(memory * _SWAP.get(variant, 0.5) * scale) << 20,
        sleepers=sleepers,
    )


def _service(name: str, variant: str, factor: float) -> Service:
    peak, high, low, large, small = _SHAPES[name]
    anonymous, gives_back = _ANONYMOUS[name]
    shares = NORMAL_SHARES
    if variant == "overlap" and name in {"dc", "mail"}:
        peak, high = _OVERLAP
        shares = _OVERLAP_SHARES.get(name, NORMAL_SHARES)
    if variant in {"cold", "oom"}:
        anonymous, gives_back = 100, variant == "oom"
    return Service(
        name=name, load=_plateau(peak, low * factor, high * factor),
        working_set=_plateau(peak, small, large), anonymous=anonymous, gives_back=gives_back,
        shares=shares, peaks=(peak,),
    )  # fmt: skip


def _antagonists(variant: str, factor: float) -> list[Service]:
    if variant == "backup":
        return [
            Service(
                name="backup", load=((0, 0),), working_set=((0, 0), (0.01, _STREAM_MIB)), hogs=2,
                streams=True, shares=_ANTAGONIST_SHARES, antagonist=True,
            )
        ]  # fmt: skip
    if variant == "greedy":
        return [
            Service(
                name="greedy", load=((0, _GREEDY_RATE * CORE_COST * factor),),
                working_set=((0, 0), (0.01, _GREEDY_MIB)), shares=_ANTAGONIST_SHARES,
                antagonist=True,
            )
        ]  # fmt: skip
    return []


def _late(variant: str, factor: float) -> list[Service]:
    if variant != "failover":
        return []
    hour, load, small, large = _FAILOVER
    return [
        Service(
            name="spare", load=((hour, 0), (hour + 0.01, load * factor)), begins=hour,
            working_set=((hour, small), (hour + 1, large)), peaks=((hour, 24.0),),
        )
    ]  # fmt: skip


def _plateau(peak: tuple[float, float], low: float, high: float) -> Points:
    start, end = peak
    return ((start - RAMP, low), (start, high), (end, high), (end + RAMP, low))


def _scaled(service: Service, scale: float) -> Service:
    return replace(
        service,
        load=tuple((hour, value * scale) for hour, value in service.load),
        working_set=tuple((hour, value * scale) for hour, value in service.working_set),
        hogs=max(1, round(service.hogs * scale)) if service.hogs else 0,
    )


def at(points: Points, hour: float) -> float:
    """The value at an hour: straight lines between points, level outside."""
    if hour <= points[0][0]:
        return points[0][1]
    for (before, low), (after, high) in itertools.pairwise(points):
        if hour <= after:
            return low + (high - low) * (hour - before) / (after - before)
    return points[-1][1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Sum of the peaks over peak of the sums: the most that sharing could win at all."""

    cpu: float
    memory: float


def gain(services: Sequence[Service]) -> Gain:
    """Of the services that are scored."""
    scored = [one for one in services if not one.antagonist]
    hours = [step / 100 for step in range(2401)]

    def ratio(curves: Sequence[Points]) -> float:
        peaks = sum(max(value for _, value in curve) for curve in curves)
        return peaks / max(sum(at(curve, hour) for curve in curves) for hour in hours)

    return Gain(
        cpu=ratio([one.load for one in scored]), memory=ratio([one.working_set for one in scored])
    )


def write(points: Points) -> str:
    """As the load generator reads it: ``7=9,7.5=175``."""
    return ",".join(f"{hour:.6g}={value:.6g}" for hour, value in points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """``seconds`` that the 24 hours take. ``iterations``: of a request's work, by kind of guest."""

    seconds: int
    seed: int
    iterations: Mapping[str, int] = field(default_factory=dict)

    def hour(self, second: float) -> float:
        """The office's hour after ``second`` seconds."""
        return second / self.seconds * 24

    def milliseconds(self, hour: float) -> int:
        """How old the day is at an hour."""
        return round(hour / 24 * self.seconds * 1000)


DATA = "/data"


CALIBRATION = (
    "calibrate", f"cost={round(CORE_COST * 1e6)}", "seed=1", "set=0=200", f"file={DATA}/set",
)  # fmt: skip
"""The load generator's arguments by which it finds out how many iterations a request has; of a
working set that no processor holds in its caches."""


def words(service: Service, number: int, day: Day) -> tuple[str, ...]:
    """The load generator's arguments. ``number``: of the service, so that no two have one seed."""
    made = [
        f"day={day.seconds}",
        f"seed={day.seed * 1000 + number}",
        f"rate={write(service.rate())}",
        f"set={write(service.working_set)}",
        f"iterations={day.iterations[service.kind]}",
        f"anon={service.anonymous}",
        f"free={int(service.gives_back)}",
        f"patience={round(PATIENCE * 1000)}",
        "wait=1",
    ]
    if service.begins:
        made.append(f"offset={day.milliseconds(service.begins)}")
    if service.file > 0:
        made.append(f"file={DATA}/set")
    if service.hogs:
        made.append(f"hogs={service.hogs}")
    if service.streams:
        made.append("stream=1")
    return ("run", *made)
