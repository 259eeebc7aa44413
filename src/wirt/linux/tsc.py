"""The frequency of this host's time stamp counter, measured.

A microVM under emulation has no clock that Linux could calibrate it against (no PIT, no HPET, no
PM timer), and hangs unless it is told. The guest's counter is the host's there.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import threading
import time

_RDTSC = bytes([0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3])
"""rdtsc; shl rdx, 32; or rax, rdx; ret"""
_BRACKETS = 20


def khz(*, seconds: float = 0.1) -> int | None:
    """Ticks per millisecond, measured over ``seconds``, good to some parts per million.

    None where there is no such counter or the host forbids memory that can be written and run.
    """
    if platform.machine() != "x86_64":
        return None
    protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=protection)
    except OSError:
        return None
    code[: len(_RDTSC)] = _RDTSC
    counter = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    before, first = _point(counter)
    threading.Event().wait(seconds)
    after, second = _point(counter)
    return round((second - first) * 1_000_000 / (after - before))


def _point(counter: ctypes._CFunctionType) -> tuple[float, int]:
    """A time and the counter at it: of several readings the one least disturbed."""
    readings: list[tuple[int, float, int]] = []
    for _ in range(_BRACKETS):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        ticks = counter()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        readings.append((after - before, (before + after) / 2, ticks))
    _, moment, ticks = min(readings)
    return moment, ticks
