"""The frequency of this host's time stamp counter, measured.

A microVM under emulation has no clock that Linux could calibrate it against (no PIT, no HPET, no
PM timer), and hangs unless it is told. The guest's counter is the host's there.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_RDTSC: Final = bytes([0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3])
"""rdtsc; shl rdx, 32; or rax, rdx; ret"""
_BRACKETS: Final = 20
_PAGE: Final = 4096
_READ_EXECUTE: Final = 1 | 4
_PRIVATE: Final = 2
_FAILED: Final = ctypes.c_void_p(-1).value


def khz(*, seconds: float = 0.1) -> int | None:
    """Ticks per millisecond, measured over ``seconds``, good to some parts per million.

    None where there is no such counter, or the host lets nobody run code from memory.
    """
    if platform.machine() != "x86_64":
        return None
    try:
        with _counter() as counter:
            before, first = _point(counter)
            threading.Event().wait(seconds)
            after, second = _point(counter)
    except OSError:
        return None
    return round((second - first) * 1_000_000 / (after - before))


@contextmanager
def _counter() -> Iterator[Callable[[], int]]:
    """A function that reads the counter.

    Its code is mapped from a file in memory: a mapping that is writable and executable at once is
    what hardened services (systemd's MemoryDenyWriteExecute) are refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    fd = os.memfd_create("rdtsc", os.MFD_CLOEXEC)
    try:
        os.write(fd, _RDTSC.ljust(_PAGE, b"\xc3"))
        address = libc.mmap(None, _PAGE, _READ_EXECUTE, _PRIVATE, fd, 0)
    finally:
        os.close(fd)
    if address == _FAILED:
        raise OSError(ctypes.get_errno(), "mmap")
    try:
        yield ctypes.CFUNCTYPE(ctypes.c_uint64)(address)
    finally:
        libc.munmap(address, _PAGE)


def _point(counter: Callable[[], int]) -> tuple[float, int]:
    """A time and the counter at it: of several readings the one least disturbed."""
    readings: list[tuple[int, float, int]] = []
    for _ in range(_BRACKETS):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        ticks = counter()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        readings.append((after - before, (before + after) / 2, ticks))
    _, moment, ticks = min(readings)
    return moment, ticks
