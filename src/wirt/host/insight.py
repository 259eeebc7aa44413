"""What is known of a running guest beyond what it uses: the times of its processors, what it is due
and wants, how long it stands still."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wirt.governor.journal import Frame, Share
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.linux.split import Split, pressure, split

FRESH = 30 * 10**9
"""Nanoseconds after which the governor's last tick says nothing about now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpse:
    """``shares``: by resource, in the governor's units; ``pressure``: see
    :func:`~wirt.linux.split.pressure`. ``state``: ``running``, ``minimal``, ``sleeping`` or
    ``paused``."""

    split: Split
    pressure: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, Share] = field(default_factory=dict)
    state: str = ""


class Insight:
    """Looks at one guest. ``frame``: the governor's newest tick; ``state``: how a guest is."""

    def __init__(
        self,
        *,
        layout: Layout,
        cgroups: Cgroups,
        frame: Callable[[], Frame | None],
        state: Callable[[str], str],
    ) -> None:
        self._layout = layout
        self._cgroups = cgroups
        self._frame = frame
        self._state = state

    def of(self, guest_id: str) -> Glimpse:
        """What is known now."""
        path = self._layout.cgroup(guest_id)
        times = split(self._cgroups, path)
        frame = self._frame()
        fresh = frame is not None and times.at - frame.at < FRESH
        found = frame.shares.get(guest_id, {}) if frame is not None and fresh else {}
        return Glimpse(
            split=times, pressure=pressure(self._cgroups, path),
            shares={resource.value: share for resource, share in found.items()},
            state=self._state(guest_id),
        )  # fmt: skip


PARTS = ("user", "system", "guest")


def percents(before: Split | None, now: Split) -> dict[str, float | None]:
    """Percents of one core between two readings: ``total`` and each of :data:`PARTS`, which add up
    to it; None what cannot be told."""
    total = _percent(before, now, "total")
    parts = {kind: _percent(before, now, kind) for kind in PARTS}
    told = sum(part or 0.0 for part in parts.values())
    if total is not None and told:
        parts = {k: None if one is None else one * total / told for k, one in parts.items()}
    return {"total": total, **parts}


def _percent(before: Split | None, now: Split, kind: str) -> float | None:
    if before is None:
        return None
    one, other = getattr(before, kind), getattr(now, kind)
    elapsed = now.at - before.at
    if one is None or other is None or elapsed <= 0 or other < one:
        return None
    return float(100.0 * (other - one) / elapsed)
