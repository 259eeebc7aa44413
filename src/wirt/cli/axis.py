"""Where the lines of a picture's axes are: at round figures. Pure."""

from __future__ import annotations

import time

MOST = 5
"""Lines above the one at nought, at most."""
MOST_TIMES = 7
_SECOND = 10**9
_DAY = 86_400
_CLOCK = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200,
)  # fmt: skip
"""Seconds between two marks of a clock."""


def lines(most: float, *, binary: bool = False, least: int = 1) -> range:
    """Round figures from 0 to ``most``: multiples of 1, 2 or 5 times a power of ten, ``binary`` of
    a power of two, as bytes are counted; no finer than ``least``, which is such a step."""
    step = least
    factors = (2,) if binary else (2, 2.5, 2)
    number = 0
    while most / step > MOST:
        step = int(step * factors[number % len(factors)])
        number += 1
    return range(0, int(most) + 1, step)


def times(begin: int, end: int) -> tuple[range, str]:
    """Round times of the local clock between two (Unix nanoseconds), and how to write them, for
    ``strftime``."""
    seconds = (end - begin) / _SECOND / MOST_TIMES
    days = max(int(-(-seconds // _DAY)), 1)
    step = next((one for one in _CLOCK if one >= seconds), days * _DAY)
    ahead = time.localtime(begin // _SECOND).tm_gmtoff
    first = -(-(begin + ahead * _SECOND) // (step * _SECOND)) * step - ahead
    pattern = "%H:%M:%S" if step < 60 else "%H:%M" if step < _DAY else "%m-%d"
    return range(first * _SECOND, end + 1, step * _SECOND), pattern
