"""What the kernel counts of a running guest, as the governor reads it in each tick.

A reading is counters and sizes as they stand; two of them make the rates on which it acts. None
means unknown, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One guest at one time, seen from the host. ``at``: nanoseconds of CLOCK_MONOTONIC.

    Counters since the guest's start: ``cpu_ns`` used; ``wait_ns`` it waited for a processor;
    ``refaults`` pages read again after they had been taken, swap-ins included; ``failures`` times
    its limit of memory was met; ``disk_read``, ``disk_written``, ``net_in`` and ``net_out`` bytes.
    Sizes in bytes: ``memory`` held, ``memory_limit`` in force (None: unlimited or unknown),
    ``memory_max``: of it what kills (version 2), ``anon``, ``file`` (caches, tmpfs not), ``swap``
    (swapped out). ``under_oom``: it stands still until it is given memory.
    """

    at: int
    cpu_ns: int | None = None
    wait_ns: int | None = None
    memory: int | None = None
    memory_limit: int | None = None
    memory_max: int | None = None
    anon: int | None = None
    file: int | None = None
    swap: int | None = None
    refaults: int | None = None
    failures: int | None = None
    under_oom: bool = False
    disk_read: int | None = None
    disk_written: int | None = None
    net_in: int | None = None
    net_out: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerMemory:
    """A machine's memory as its own kernel tells it through the balloon; it may lie.

    Bytes: ``size`` left to it by the balloon, ``available`` to new programs without swapping,
    ``free``, ``cache``. Counters of bytes: ``swapped_in``, ``swapped_out``; of faults: ``major``.
    ``age``: seconds since the guest gave these figures.
    """

    size: int
    available: int | None = None
    free: int | None = None
    cache: int | None = None
    swapped_in: int | None = None
    swapped_out: int | None = None
    major: int | None = None
    age: float | None = None
