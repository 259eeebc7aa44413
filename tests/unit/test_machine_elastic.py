"""What is believed of a machine's word about its memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.engine._elastic import STALE, judged
from wirt.errors import Unavailable
from wirt.model.reading import InnerMemory
from wirt.qemu.qmp import Figures, Memory

MIB = 1 << 20
NOW = 1_795_745_480.5
SAID = {
    "stat-available-memory": 190 * MIB,
    "stat-free-memory": 180 * MIB,
    "stat-disk-caches": 0,
    "stat-swap-in": 7,
    "stat-major-faults": 15,
}


def _memory(size: int, left: int) -> Memory:
    return Memory(start=size // 2, plugged=size - size // 2, left=left)


def test_fresh_figures_are_taken_and_missing_ones_are_unknown() -> None:
    figures = Figures(at=NOW - 1, said=SAID)
    assert judged(_memory(256 * MIB, 200 * MIB), figures, now=NOW) == InnerMemory(
        size=200 * MIB, available=190 * MIB, free=180 * MIB, cache=0, swapped_in=7,
        swapped_out=None, major=15, age=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("at", [0, NOW - STALE - 1, NOW + STALE + 1])
def test_figures_that_are_missing_old_or_of_the_future_are_unknown(at: float) -> None:
    known = judged(_memory(256 * MIB, MIB), Figures(at=at, said=SAID), now=NOW)
    assert known.available is known.free is known.cache is known.major is None


@given(left=st.integers(-(2**64), 2**64), size=st.integers(0, 2**45))
def test_a_balloon_larger_than_the_machine_is_a_lie(left: int, size: int) -> None:
    figures = Figures()
    if 0 <= left <= size:
        assert judged(_memory(size, left), figures, now=NOW).size == left
    else:
        with pytest.raises(Unavailable, match="balloon leaves it"):
            judged(_memory(size, left), figures, now=NOW)


@given(said=st.dictionaries(st.sampled_from(sorted(SAID)), st.integers(0, 2**63 - 1)))
def test_no_size_above_the_machines_is_believed(said: dict[str, int]) -> None:
    size = 256 * MIB
    known = judged(_memory(size, size), Figures(at=NOW, said=said), now=NOW)
    for figure, key in (
        (known.available, "stat-available-memory"),
        (known.free, "stat-free-memory"),
        (known.cache, "stat-disk-caches"),
    ):
        value = said.get(key)
        assert figure == (value if value is not None and value <= size else None)
