"""What to believe of a machine's word about its memory. Pure.

Its figures come from the guest's own kernel, which may be anything: what cannot be true is unknown,
and so is what was said too long ago. Unknown is None, never zero.
"""

from __future__ import annotations

from wirt.errors import Unavailable
from wirt.model.reading import InnerMemory
from wirt.qemu.device.balloon import INTERVAL
from wirt.qemu.qmp import Figures, Memory

STALE = 7.0 * INTERVAL
"""Seconds after which figures say nothing any more. QEMU counts whole ones."""
_SIZES = {"available": "stat-available-memory", "free": "stat-free-memory"}
_COUNTERS = {"swapped_in": "stat-swap-in", "swapped_out": "stat-swap-out"}


def judged(memory: Memory, figures: Figures, *, now: float) -> InnerMemory:
    """The figures that can be true. ``now``: Unix seconds.

    Raises Unavailable when the balloon claims what cannot be.
    """
    size, left = memory.whole, memory.left
    if not 0 <= left <= size:
        raise Unavailable(
            f"the machine says that its balloon leaves it {left} bytes, of {size}",
            code="machine.lies",
        )
    age = now - figures.at
    if not figures.at or not -STALE <= age <= STALE:
        return InnerMemory(size=left, age=age if figures.at and age > 0 else None)
    said = figures.said
    sizes = {name: _within(said.get(key), size) for name, key in _SIZES.items()}
    return InnerMemory(
        size=left,
        cache=_within(said.get("stat-disk-caches"), size),
        major=said.get("stat-major-faults"),
        age=max(age, 0.0),
        **sizes,
        **{name: said.get(key) for name, key in _COUNTERS.items()},
    )


def _within(value: int | None, most: int) -> int | None:
    return None if value is None or value > most else value
