"""Giving a guest or a group more for a while: once, or by a calendar."""

from __future__ import annotations

from dataclasses import dataclass

MOST_TIMES = 10_000
"""What shares are multiplied by at most, in whole times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What a boost gives. ``cpu`` and ``memory``: by how many thousandths shares are multiplied;
    ``reserve``: bytes of memory that are guaranteed on top."""

    cpu: int = 1000
    memory: int = 1000
    reserve: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Boost:
    """One boost of a guest (by id) or of a group (by path). Times are Unix nanoseconds.

    ``entry``: the calendar entry that it comes from, empty for one that was asked for.
    """

    target: str
    gain: Gain
    since: int
    until: int
    group: bool = False
    entry: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A calendar entry. ``name``: of the guest, or path of the group, so that a guest that is made
    anew is boosted too. ``days``: 0 is Monday. ``begin``, ``end``: minutes of the local day; an end
    that is not after the beginning is on the next day."""

    id: str
    name: str
    gain: Gain
    days: tuple[int, ...]
    begin: int
    end: int
    group: bool = False
