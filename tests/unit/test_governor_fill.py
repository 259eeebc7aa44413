"""Dividing one amount: the invariants of weighted max-min, for any floors, ceilings and weights."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wirt.governor.fill import Slot, fill

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no fault of the code."""
AMOUNTS = st.integers(0, 2**40)


@st.composite
def slots(draw: st.DrawFn, least: int = 1) -> list[Slot]:
    made = []
    for number in range(draw(st.integers(least, 8))):
        low, high = sorted((draw(AMOUNTS), draw(AMOUNTS)))
        weight = draw(st.integers(1, 10_000))
        made.append(Slot(key=f"g{number}", floor=low, ceiling=high, weight=weight))
    return made


def total(made: list[Slot], what: str) -> int:
    return sum(getattr(slot, what) for slot in made)


@RELAXED
@given(AMOUNTS, slots())
def test_all_that_may_be_given_is_given_and_no_more(capacity: int, made: list[Slot]) -> None:
    got = fill(capacity, made)
    assert sum(got.values()) == min(capacity, total(made, "ceiling"))


@RELAXED
@given(AMOUNTS, slots())
def test_floors_and_ceilings_hold(capacity: int, made: list[Slot]) -> None:
    got = fill(capacity, made)
    assert all(got[s.key] <= s.ceiling for s in made)
    if total(made, "floor") <= capacity:
        assert all(got[s.key] >= s.floor for s in made)


@RELAXED
@given(AMOUNTS, slots(), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(capacity: int, made: list[Slot], random: object) -> None:
    mixed = list(made)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert fill(capacity, mixed) == fill(capacity, made)


@RELAXED
@given(AMOUNTS, slots(least=2))
def test_between_its_bounds_everybody_has_the_same_per_share(
    capacity: int, made: list[Slot]
) -> None:
    got = fill(capacity, made)
    if total(made, "floor") > capacity:
        return
    inside = [s for s in made if s.floor + 1 < got[s.key] < s.ceiling - 1]
    for one in inside:
        for other in inside:
            mine = got[one.key] * other.weight
            assert abs(mine - got[other.key] * one.weight) <= 2 * (one.weight + other.weight)


@RELAXED
@given(AMOUNTS, slots(), st.integers(0, 2**40))
def test_more_capacity_lowers_nobody(capacity: int, made: list[Slot], more: int) -> None:
    if total(made, "floor") > capacity:
        return
    before, after = fill(capacity, made), fill(capacity + more, made)
    assert all(after[key] >= before[key] - 1 for key in before)


@RELAXED
@given(AMOUNTS, slots(least=2), st.integers(0, 2**40))
def test_a_higher_ceiling_helps_oneself_only(capacity: int, made: list[Slot], more: int) -> None:
    if total(made, "floor") > capacity:
        return
    first = made[0]
    raised = Slot(
        key=first.key, floor=first.floor, ceiling=first.ceiling + more, weight=first.weight
    )
    before, after = fill(capacity, made), fill(capacity, [raised, *made[1:]])
    assert after[first.key] >= before[first.key] - 1
    assert all(after[s.key] <= before[s.key] + 1 for s in made[1:])


@pytest.mark.parametrize(
    ("capacity", "bounds", "expected"),
    [
        (90, [(0, 100, 1), (0, 100, 2)], [30, 60]),
        (90, [(0, 10, 1), (0, 100, 1)], [10, 80]),
        (90, [(50, 100, 1), (0, 100, 1)], [50, 40]),
        (10, [(30, 100, 1), (10, 100, 1)], [8, 2]),  # 7.5 and 2.5: the tie goes to the first key
        (1000, [(0, 10, 1), (0, 20, 1)], [10, 20]),
        (-5, [(0, 10, 1)], [0]),
        (10, [(0, 9, 1), (0, 9, 1), (0, 9, 1)], [4, 3, 3]),
    ],
)
def test_examples(capacity: int, bounds: list[tuple[int, int, int]], expected: list[int]) -> None:
    made = [
        Slot(key=f"g{n}", floor=low, ceiling=high, weight=weight)
        for n, (low, high, weight) in enumerate(bounds)
    ]
    assert list(fill(capacity, made).values()) == expected


def test_nobody_gets_nothing() -> None:
    assert fill(10, []) == {}
