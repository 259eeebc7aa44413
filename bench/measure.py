"""Taking samples: in turn, so that a change of load meets every peer, and medians of them."""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Samples = dict[str, list[float]]
WATCH_SECONDS = 0.05
"""Between two looks at something that changes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One promise: its samples by peer, in ``unit``, smaller is better.

    ``must``, ``aim``: factor of the reference peer's median, or absolute where ``against`` is "".
    """

    key: str
    title: str
    unit: str
    samples: Samples
    against: str
    must: float
    aim: float
    note: str = ""

    def median(self, peer: str) -> float | None:
        """The median of a peer's samples, None when it was not measured."""
        taken = self.samples.get(peer)
        return statistics.median(taken) if taken else None

    def verdict(self) -> str:
        """``aim``, ``must`` or ``missed``; ``-`` when there is nothing to compare with."""
        ours = self.median("wirt")
        theirs = 1.0 if not self.against else self.median(self.against)
        if ours is None or theirs is None:
            return "-"
        if ours <= self.aim * theirs:
            return "aim"
        return "must" if ours <= self.must * theirs else "missed"


def in_turn(
    actions: Mapping[str, Callable[[], float]], *, rounds: int, warm: int = 1, pause: float = 0.3
) -> Samples:
    """Every action once a round, after ``warm`` rounds that do not count.

    ``pause``: seconds before each, so that nobody is measured while another still clears up.
    """
    samples: Samples = {name: [] for name in actions}
    for number in range(-warm, rounds):
        for name, action in actions.items():
            time.sleep(pause)
            value = action()
            if number >= 0:
                samples[name].append(value)
    return samples


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that ``work`` takes."""
    began = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - began) / 1e6


def command(
    argv: Sequence[str], environment: Mapping[str, str], *, output: int = subprocess.DEVNULL
) -> float:
    """Milliseconds from fork to the end of a command. Raises RuntimeError unless it ends with 0."""
    began = time.perf_counter_ns()
    files = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
    ]
    pid = os.posix_spawnp(argv[0], list(argv), dict(environment), file_actions=files)
    _, status = os.waitpid(pid, 0)
    took = (time.perf_counter_ns() - began) / 1e6
    if status != 0:
        raise RuntimeError(f"{' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}")
    return took


def pss(pids: Iterable[int]) -> float:
    """Proportional set size of these processes together, in MB (10^6 bytes)."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total * 1024 / 1e6


def most_seen(read: Callable[[], float], work: Callable[[], object]) -> tuple[float, int]:
    """The largest value that is read while ``work`` runs, and how often it was read."""
    seen = [read()]
    over = threading.Event()

    def look() -> None:
        while not over.wait(WATCH_SECONDS):
            seen.append(read())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        work()
    finally:
        over.set()
        watcher.join()
    return max(seen), len(seen)


def load() -> float:
    """The one-minute load average."""
    return os.getloadavg()[0]
