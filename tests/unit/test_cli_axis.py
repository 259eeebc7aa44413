"""Axes of pictures: round figures, not too many."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.cli import axis

SECOND = 10**9
MORNING = 1_772_782_260 * SECOND
"""2026-03-06 07:31 UTC."""


@pytest.fixture(params=["UTC", "Asia/Kolkata"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("most", "how", "shown"),
    [
        (1060.0, {"least": 10}, [0, 500, 1000]),
        (4240.0, {"least": 10}, [0, 1000, 2000, 3000, 4000]),
        (7.0, {"least": 10}, [0]),
        (1.06 * (700 << 20), {"binary": True}, [n << 20 for n in (0, 256, 512)]),
        (1.06 * (3 << 30), {"binary": True}, [n << 30 for n in (0, 1, 2, 3)]),
        (1.0, {}, [0, 1]),
    ],
)
def test_round_figures(most: float, how: dict[str, Any], shown: list[int]) -> None:
    assert list(axis.lines(most, **how)) == shown


@given(st.floats(1, 1e18), st.booleans())
def test_lines_are_few_and_round(most: float, binary: bool) -> None:
    found = axis.lines(most, binary=binary)
    assert 2 <= len(found) <= axis.MOST + 1
    assert found[-1] <= most
    digits = f"{found.step:b}" if binary else f"{found.step}"
    assert digits.rstrip("0") in ({"1"} if binary else {"1", "2", "5"})


@pytest.mark.parametrize(
    ("seconds", "first", "step", "last"),
    [
        (10, "07:31:00", 2, "07:31:10"), (24, "07:31:00", 5, "07:31:20"),
        (300, "07:31", 60, "07:36"), (3600, "07:40", 600, "08:30"), (86_400, "08:00", 14_400, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("zone", ["UTC"], indirect=True)
def test_round_times(zone: str, seconds: int, first: str, step: int, last: str) -> None:
    found, pattern = axis.times(MORNING, MORNING + seconds * SECOND)
    told = [time.strftime(pattern, time.localtime(at // SECOND)) for at in found]
    assert (told[0], found.step) == (first, step * SECOND), zone
    assert told[-1] == last or not last


@pytest.mark.parametrize("seconds", [3, 100, 5000, 40_000, 86_400, 10**6, 10**8])
def test_times_are_few_and_round_where_people_are(zone: str, seconds: int) -> None:
    found, pattern = axis.times(MORNING, MORNING + seconds * SECOND)
    assert 1 <= len(found) <= axis.MOST_TIMES + 1
    for at in found:
        local = time.localtime(at // SECOND)
        assert ((local.tm_hour * 60 + local.tm_min) * 60 + local.tm_sec) % min(
            found.step // SECOND, 86_400
        ) == 0, zone
        assert time.strptime(time.strftime(pattern, local), pattern)
