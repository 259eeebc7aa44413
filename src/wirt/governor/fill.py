"""Weighted max-min with floors and ceilings: the one rule by which everything is divided.

Each slot gets ``clamp(level * weight, floor, ceiling)`` with the same level for all; the level is
as high as the capacity allows. So nobody can get more without taking it from somebody who has no
more per share (Bertsekas and Gallager, Data Networks, 6.5.2; here with weights and floors).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Slot(NamedTuple):
    """One claim. ``key`` breaks ties, so that the order of slots does not matter.

    ``0 <= floor <= ceiling``, whole units of the resource; ``weight`` is positive.
    """

    key: str
    floor: int
    ceiling: int
    weight: int


def fill(capacity: int, slots: Sequence[Slot]) -> dict[str, int]:
    """Divide ``capacity`` units; the sum is ``min(capacity, sum of ceilings)`` exactly.

    When the floors alone exceed the capacity each slot gets the same part of its floor: a promise
    that cannot be kept is broken evenly. O(n log n).
    """
    if not slots:
        return {}
    capacity = max(capacity, 0)
    floors = sum(slot.floor for slot in slots)
    if floors > capacity:
        return fill(
            capacity,
            [Slot(key=s.key, floor=0, ceiling=s.floor, weight=max(s.floor, 1)) for s in slots],
        )
    if sum(slot.ceiling for slot in slots) <= capacity:
        return {slot.key: slot.ceiling for slot in slots}
    level = _level(capacity, slots)
    exact = [min(max(level * s.weight, s.floor), s.ceiling) for s in slots]
    return _whole(capacity, slots, exact)


def _level(capacity: int, slots: Sequence[Slot]) -> float:
    """The level at which the sum reaches the capacity, which lies between floors and ceilings."""
    bends: list[tuple[float, int, int]] = []  # level, weight that begins or ends to grow, amount
    for slot in slots:
        bends.append((slot.floor / slot.weight, slot.weight, -slot.floor))
        bends.append((slot.ceiling / slot.weight, -slot.weight, slot.ceiling))
    bends.sort()
    weight, fixed = 0, sum(slot.floor for slot in slots)
    for level, change, amount in bends:
        if fixed + level * weight >= capacity and weight:
            return (capacity - fixed) / weight
        weight += change
        fixed += amount
    return bends[-1][0]


def _whole(capacity: int, slots: Sequence[Slot], exact: Sequence[float]) -> dict[str, int]:
    """Round down, then hand out what is left one by one, largest fraction first."""
    amounts = {
        s.key: min(max(int(e), s.floor), s.ceiling) for s, e in zip(slots, exact, strict=True)
    }
    left = capacity - sum(amounts.values())
    by_fraction = sorted(
        zip(slots, exact, strict=True), key=lambda pair: (int(pair[1]) - pair[1], pair[0].key)
    )
    while left:
        step = 1 if left > 0 else -1
        moved = 0
        for slot, _ in by_fraction if step > 0 else reversed(by_fraction):
            bound = slot.ceiling if step > 0 else slot.floor
            if left and amounts[slot.key] != bound:
                amounts[slot.key] += step
                left -= step
                moved += 1
        if not moved:
            break
    return amounts
