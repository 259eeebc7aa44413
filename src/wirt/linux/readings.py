"""Reading again and again what a running guest's control group counts: files are kept open.

All of it is world-readable. One reading takes some 60 microseconds, most of it in the kernel, for
the governor reads every guest in every tick.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from wirt.linux import procfs
from wirt.linux.cgroup import Cgroups, Mode
from wirt.linux.features import parse_meminfo
from wirt.linux.usage import service_bytes
from wirt.model.reading import Reading

_NO_LIMIT: Final = 1 << 60
_MOST: Final = 32768
"""Bytes of the longest file."""
_MOST_THREADS: Final = 64
"""Of a guest whose waiting for processors is counted thread by thread; with more some are asked."""
_SOME: Final = 32
"""Of many threads so many are asked in each reading, others each time."""
_FEW_THREADS: Final = 4
"""Of so few their files are kept open."""
_V1: Final = {
    "usage": ("memory", "memory.usage_in_bytes"),
    "limit": ("memory", "memory.limit_in_bytes"),
    "stat": ("memory", "memory.stat"),
    "failures": ("memory", "memory.failcnt"),
    "oom": ("memory", "memory.oom_control"),
    "cpu": ("cpuacct", "cpuacct.usage"),
    "io": ("blkio", "blkio.throttle.io_service_bytes"),
    "tasks": ("cpu", "tasks"),
}
_V2: Final = {
    "usage": ("memory", "memory.current"),
    "limit": ("memory", "memory.max"),
    "high": ("memory", "memory.high"),
    "stat": ("memory", "memory.stat"),
    "events": ("memory", "memory.events"),
    "swap": ("memory", "memory.swap.current"),
    "cpu": ("cpu", "cpu.stat"),
    "waits": ("cpu", "cpu.pressure"),
    "io": ("io", "io.stat"),
}
_V1_CACHES: Final = (b"total_inactive_file", b"total_active_file")
_V2_CACHES: Final = (b"inactive_file", b"active_file")
_STALLED: Final = re.compile(rb"some [^\n]*total=(\d+)")
_FULL: Final = re.compile(rb"full avg10=([0-9.]+)")


Holding = tuple[int | None, int | None]
"""Bytes of memory that a guest holds, and how many of them are files' caches."""


class Files:
    """Files of one guest, each opened at its first reading."""

    def __init__(self, places: Mapping[str, Path | None]) -> None:
        self._places = places
        self._open: dict[str, int] = {}

    def read(self, key: str) -> bytes:
        """What is in it now; empty when it is not there or its group is gone."""
        try:
            fd = self._open.get(key)
            if fd is None:
                place = self._places.get(key)
                if place is None:
                    return b""
                fd = self._open[key] = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(fd, _MOST, 0)
        except OSError:
            if key not in self._open:
                self._places = {**self._places, key: None}
            return b""

    def close(self) -> None:
        """Let go of them all."""
        while self._open:
            os.close(self._open.popitem()[1])


class Readings:
    """Reads one guest. ``cards``: names of its network interfaces on this host, may be none.
    ``proc``: where /proc is."""

    def __init__(
        self,
        cgroups: Cgroups,
        path: str,
        *,
        cards: tuple[str, ...] = (),
        proc: Path = procfs.PROC,
    ) -> None:
        self._v2 = cgroups.mode is Mode.V2
        kinds = _V2 if self._v2 else _V1
        self._caches = _V2_CACHES if self._v2 else _V1_CACHES
        places: dict[str, Path | None] = {}
        for key, (controller, name) in kinds.items():
            directory = cgroups.directory(controller, path)
            places[key] = None if directory is None else directory / name
        self._cards = cards
        for number, card in enumerate(cards):
            for way in ("rx", "tx"):
                net = Path(f"/sys/class/net/{card}/statistics/{way}_bytes")
                places[f"{way}{number}"] = net
        self._files = Files(places)
        self._threads: dict[bytes, int] = {}
        self._waited = 0
        self._turn = 0
        self._delays = _Delays(os.fsencode(proc))

    def read(self) -> Reading:
        """The guest now; all figures are None when it is gone."""
        return self._read_v2() if self._v2 else self._read_v1()

    def held(self) -> Holding:
        """Only what it holds and how much of that are files' caches, in bytes: a third of the cost
        of a reading."""
        stat = _pairs(self._files.read("stat"))
        return _number(self._files.read("usage")), _sum(stat, *self._caches)

    def close(self) -> None:
        """Let go of its files."""
        self._files.close()
        self._delays.keep(())

    # --- version 1

    def _read_v1(self) -> Reading:
        files = self._files
        stat = _pairs(files.read("stat"))
        oom = _pairs(files.read("oom"))
        disk = service_bytes(files.read("io").decode("ascii", "replace"))
        net = self._net()
        return Reading(
            at=time.monotonic_ns(),
            cpu_ns=_number(files.read("cpu")),
            wait_ns=self._run_delay(),
            memory=_number(files.read("usage")),
            memory_limit=_bounded(_number(files.read("limit"))),
            anon=_sum(stat, b"total_rss", b"total_shmem"),
            file=_sum(stat, *_V1_CACHES),
            swap=stat.get(b"total_swap"),
            refaults=_sum(stat, b"total_workingset_refault_anon", b"total_workingset_refault_file"),
            failures=_number(files.read("failures")),
            under_oom=oom.get(b"under_oom") == 1,
            disk_read=disk[0],
            disk_written=disk[1],
            net_in=net[0],
            net_out=net[1],
        )

    def _run_delay(self) -> int | None:
        """Nanoseconds that its threads waited for a processor, added up as they come and go. Of
        many only some are asked, in turn, and stand for all: what those of the last time waited
        since then."""
        tasks = self._tasks()
        many = len(tasks) > _MOST_THREADS
        fresh = self._some(tasks) if many else tasks
        asked = {*fresh, *(self._threads if many else ())}
        self._delays.keep(tasks if len(tasks) <= _FEW_THREADS else ())
        now = {task: delay for task in asked if (delay := self._delays.of(task)) is not None}
        grown = [max(now[task] - was, 0) for task, was in self._threads.items() if task in now]
        if grown:
            self._waited += sum(grown) * len(tasks) // len(grown) if many else sum(grown)
        self._threads = {task: now[task] for task in fresh if task in now}
        return self._waited

    def _tasks(self) -> list[bytes]:
        """Ids of its threads; of some thousands the first, without what was cut off."""
        text = self._files.read("tasks")
        return (text[: text.rfind(b"\n")] if len(text) == _MOST else text).split()

    def _some(self, tasks: list[bytes]) -> list[bytes]:
        turns = -(-len(tasks) // _SOME)
        self._turn = (self._turn + 1) % turns
        return tasks[self._turn :: turns]

    # --- version 2

    def _read_v2(self) -> Reading:
        files = self._files
        stat = _pairs(files.read("stat"))
        cpu = _pairs(files.read("cpu"))
        disk = _stat(files.read("io"))
        net = self._net()
        used = cpu.get(b"usage_usec")
        most, high = (_number(files.read(key)) for key in ("limit", "high"))
        limits = [limit for limit in (most, high) if limit is not None]
        waits = _STALLED.search(files.read("waits"))
        return Reading(
            at=time.monotonic_ns(),
            cpu_ns=None if used is None else used * 1000,
            wait_ns=None if waits is None else int(waits[1]) * 1000,
            memory=_number(files.read("usage")),
            memory_limit=min(limits, default=None),
            memory_max=most,
            anon=_sum(stat, b"anon", b"shmem"),
            file=_sum(stat, *_V2_CACHES),
            swap=_number(files.read("swap")),
            refaults=_sum(stat, b"workingset_refault_anon", b"workingset_refault_file"),
            failures=_sum(_pairs(files.read("events")), b"high", b"max"),
            disk_read=disk[0],
            disk_written=disk[1],
            net_in=net[0],
            net_out=net[1],
        )

    def _net(self) -> tuple[int | None, int | None]:
        """Bytes in and out; what the host's end receives is what the guest sent."""
        if not self._cards:
            return None, None
        numbers = range(len(self._cards))
        sums = []
        for way in ("tx", "rx"):
            counted = [_number(self._files.read(f"{way}{number}")) for number in numbers]
            known = [one for one in counted if one is not None]
            sums.append(sum(known) if known else None)
        return sums[0], sums[1]


class HostMemory:
    """The host's own memory. ``proc``: where /proc is. ``swap``: bytes of swap that were free when
    it was read last."""

    def __init__(self, *, proc: Path = procfs.PROC) -> None:
        self.swap = 0
        self._files = Files({"meminfo": proc / "meminfo", "pressure": proc / "pressure/memory"})

    def read(self) -> tuple[int | None, float | None]:
        """Bytes that programs can still get, and the part of the last 10 s, 0 to 1, in which all
        that could run stood still for want of memory."""
        found = parse_meminfo(self._files.read("meminfo").decode("ascii", "replace"))
        full = _FULL.search(self._files.read("pressure"))
        self.swap = found.get("SwapFree", 0)
        pressure = None
        if full is not None:
            with contextlib.suppress(ValueError):
                pressure = float(full[1]) / 100
        return found.get("MemAvailable"), pressure

    def close(self) -> None:
        """Let go of its files."""
        self._files.close()


class _Delays:
    """How long threads waited for a processor: field 2 of their schedstat, in nanoseconds."""

    def __init__(self, proc: bytes) -> None:
        self._proc = proc
        self._open: dict[bytes, int] = {}

    def keep(self, tasks: Collection[bytes]) -> None:
        """Open the files of these, and of no others: opening takes longer than reading."""
        for gone in self._open.keys() - set(tasks):
            os.close(self._open.pop(gone))
        for task in tasks:
            if task not in self._open and (fd := self._opened(task)) is not None:
                self._open[task] = fd

    def of(self, task: bytes) -> int | None:
        """Of one thread; None when it is gone."""
        kept = self._open.get(task)
        fd = self._opened(task) if kept is None else kept
        if fd is None:
            return None
        try:
            fields = os.pread(fd, 128, 0).split()
        except OSError:
            if kept is not None:  # another may have its number next time
                os.close(self._open.pop(task))
            return None
        finally:
            if kept is None:
                os.close(fd)
        return int(fields[1]) if len(fields) > 1 else None

    def _opened(self, task: bytes) -> int | None:
        try:
            return os.open(b"%s/%s/schedstat" % (self._proc, task), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None


def _number(text: bytes) -> int | None:
    text = text.strip()
    return int(text) if text.isdigit() else None


def _bounded(limit: int | None) -> int | None:
    return None if limit is None or limit >= _NO_LIMIT else limit


def _pairs(text: bytes) -> dict[bytes, int]:
    words = text.split()
    if len(words) % 2:
        return {}
    try:
        return dict(zip(words[::2], map(int, words[1::2]), strict=True))
    except ValueError:
        return {}


def _sum(stat: Mapping[bytes, int], *keys: bytes) -> int | None:
    found = [stat[key] for key in keys if key in stat]
    return sum(found) if found else None


def _stat(text: bytes) -> tuple[int | None, int | None]:
    """Sums over all devices of lines ``8:0 rbytes=1 wbytes=2 ...``."""
    fields = [word.partition(b"=") for word in text.split() if b"=" in word]
    if not fields:
        return None, None
    read = sum(int(value) for key, _, value in fields if key == b"rbytes")
    return read, sum(int(value) for key, _, value in fields if key == b"wbytes")
