"""Looking at guests and at the machine while a day runs: cgroup files and /proc/stat."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wirt.bench.outcome import Noise, Series
from wirt.bench.workload import Day, Service, at
from wirt.linux import usage
from wirt.linux.cgroup import Cgroups, read_file

EVERY = 0.2
"""Seconds between two looks."""
_MIB = 1 << 20
_STEAL = 7
_IDLE = (3, 4)
"""Fields of a line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a guest had at a moment. ``at``: seconds since the start; sizes in bytes, time in
    nanoseconds; None: unknown, or for the limit: none."""

    at: float
    cpu: int | None
    memory: int | None
    limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Processor time so far in seconds, by number of the processor. ``ours``: of the guests on
    each, as far as the kernel tells (else all of it at -1). ``servants``: by pid, of the instance's
    daemon and helper. ``rest``: by pid, of what else belongs to the benchmark. ``kernel``: by pid,
    of the kernel's threads. ``at``: monotonic seconds."""

    busy: Mapping[int, float]
    steal: Mapping[int, float]
    ours: Mapping[int, float]
    servants: Mapping[int, float]
    rest: Mapping[int, float]
    kernel: Mapping[int, float]
    at: float


def machine(cgroups: Cgroups, group: str, servants: Sequence[int], rest: Sequence[int]) -> Machine:
    """The machine now. ``group``: of all guests. ``servants``, ``rest``: pids."""
    busy: dict[int, float] = {}
    steal: dict[int, float] = {}
    tick = os.sysconf("SC_CLK_TCK")
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            number = int(name[3:])
            times = [int(field) / tick for field in fields[:8]]
            steal[number] = times[_STEAL]
            busy[number] = sum(times) - times[_STEAL] - sum(times[i] for i in _IDLE)
    return Machine(
        busy=busy, steal=steal, ours=_ours(cgroups, group), at=time.monotonic(),
        servants={pid: spent(pid) for pid in servants},
        rest={pid: spent(pid) for pid in rest},
        kernel={pid: spent(pid) for pid in _kernel_threads()},
    )  # fmt: skip


def _kernel_threads() -> list[int]:
    """Pids of the children of kthreadd, which is always 2."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        if stat.rpartition(")")[2].split()[1] == "2":
            found.append(int(entry.name))
    return found


def _ours(cgroups: Cgroups, group: str) -> dict[int, float]:
    place = cgroups.directory("cpuacct", group)
    told = read_file(place / "cpuacct.usage_percpu").split() if place else []
    if told:
        return {number: int(text) / 1e9 for number, text in enumerate(told)}
    spent = usage.read(cgroups, group).cpu_ns
    return {-1: (spent or 0) / 1e9}


def spent(pid: int) -> float:
    """Processor seconds of a process; 0 when it is gone. Not those of its children: keepers are the
    helper's, and bring it the time of their guests."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:13]) / os.sysconf("SC_CLK_TCK")


def noise(before: Machine, after: Machine, pinned: frozenset[int]) -> Noise:
    """What others did between two looks. ``pinned``: the simulated host's processors.

    The kernel's threads are nobody's: they carry the simulated disk's reads, for one, and where
    they ran is not told.
    """
    seconds = max(after.at - before.at, 1e-9)
    busy = {n: after.busy[n] - before.busy[n] for n in after.busy if n in before.busy}
    stolen = sum(after.steal[n] - before.steal[n] for n in busy)
    ours = {n: spent - before.ours.get(n, 0.0) for n, spent in after.ours.items()}
    ours_pinned = sum(spent for n, spent in ours.items() if n in pinned or n < 0)
    kernel = grown(before.kernel, after.kernel)
    served = grown(before.servants, after.servants) + grown(before.rest, after.rest)
    theirs = sum(busy.values()) - sum(ours.values()) - served - kernel
    on_pinned = sum(spent for n, spent in busy.items() if n in pinned) - ours_pinned - kernel
    return Noise(
        others=round(max(theirs, 0.0) / seconds / max(len(busy), 1), 4),
        pinned=round(max(on_pinned, 0.0) / seconds / max(len(pinned), 1), 4),
        steal=round(max(stolen, 0.0) / seconds / max(len(busy), 1), 4),
    )


def grown(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Seconds that these processes took between two looks, those born between them included."""
    return sum(spent - before.get(pid, 0.0) for pid, spent in after.items())


class Watch:
    """Looks at each guest's cgroup until it is stopped; a context manager."""

    def __init__(self, cgroups: Cgroups, groups: Mapping[str, str]) -> None:
        """``groups``: cgroup path by service."""
        self._cgroups = cgroups
        self._groups = groups
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.looks: dict[str, list[Look]] = {name: [] for name in groups}
        self.kills: dict[str, int] = dict.fromkeys(groups, 0)
        """Processes killed for want of memory, by service."""

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        due = began
        while not self._over.wait(max(due - time.monotonic(), 0)):
            due += EVERY
            for name, group in self._groups.items():
                seen = usage.read(self._cgroups, group)
                self.kills[name] = max(self.kills[name], self._cgroups.oom_kills(group))
                self.looks[name].append(
                    Look(
                        at=time.monotonic() - began, cpu=seen.cpu_ns, memory=seen.memory,
                        limit=seen.memory_limit,
                    )
                )  # fmt: skip


def inside(looks: Sequence[Look], told: Sequence[Look]) -> list[Look]:
    """Looks at a machine from outside, with memory and limit as its guest last told: the emulator's
    control group knows neither. Those before the first word are as they were."""
    spoken = [one for one in told if one.memory is not None and one.limit is not None]
    made, known = [], 0
    for look in looks:
        while known < len(spoken) and spoken[known].at <= look.at:
            known += 1
        last = spoken[known - 1] if known else look
        made.append(Look(at=look.at, cpu=look.cpu, memory=last.memory, limit=last.limit))
    return made


def series(looks: Mapping[str, Sequence[Look]], day: Day, *, points: int = 240) -> Series:
    """For pictures: at most ``points`` of each guest, averaged over what lies between."""
    return {name: _thin(seen, day, points) for name, seen in looks.items()}


def _thin(seen: Sequence[Look], day: Day, points: int) -> list[tuple[float, float, float, float]]:
    stride = max(1, -(-len(seen) // points))
    made = []
    for first in range(0, len(seen) - 1, stride):
        part = seen[first : first + stride + 1]
        took = part[-1].at - part[0].at
        if took <= 0:
            continue
        spent = (part[-1].cpu or 0) - (part[0].cpu or 0)
        memory = sum(look.memory or 0 for look in part) / len(part)
        limits = [look.limit for look in part if look.limit is not None]
        limit = sum(limits) / len(limits) if limits else 0
        made.append(
            (
                round(day.hour(part[0].at), 3),
                round(memory / _MIB, 1),
                round(limit / _MIB, 1),
                round(max(spent, 0) / took / 1e9, 4),
            )
        )
    return made


def handover(looks: Sequence[Look], service: Service, day: Day) -> float | None:
    """Seconds from the moment at which a service needs 90 % of its largest working set to that at
    which its limit is as large; None when it never was in its peak."""
    wanted = 0.9 * service.peak_set
    needs = [look.at for look in looks if at(service.working_set, day.hour(look.at)) >= wanted]
    if not needs:
        return None
    for look in looks:
        enough = look.limit is None or look.limit >= wanted * _MIB
        if needs[0] <= look.at <= needs[-1] and enough:
            return look.at - needs[0]
    return None


def moved(looks: Mapping[str, Sequence[Look]]) -> float:
    """MiB of limit that went from one guest to another, a second."""
    total, longest = 0, 0.0
    for seen in looks.values():
        limits = [look.limit for look in seen if look.limit is not None]
        total += sum(abs(b - a) for a, b in itertools.pairwise(limits))
        longest = max(longest, seen[-1].at - seen[0].at if seen else 0.0)
    return total / 2 / _MIB / longest if longest else 0.0
