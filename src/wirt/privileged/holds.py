"""What the governor has written into a guest's control groups, as values of its verbs."""

from __future__ import annotations

import msgspec


def as_bound(size: int | None) -> int:
    """Bytes of a limit as they are told here: -1 for none."""
    return -1 if size is None else size


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """What a running guest may have from now on; None leaves a value as it is.

    ``limit``: bytes of memory, -1 none: version 1's limit, version 2's ``memory.high``. ``cpu``:
    ``cpu.shares`` or ``cpu.weight``. ``waits``: at its limit it stands still until it is given
    more, instead of being killed (version 1). ``floor``: bytes of ``memory.min``, ``low``: of
    ``memory.low``, ``disk_weight``: ``io.weight`` (version 2). ``disk``: bytes a second of reads
    and of writes each, 0 no limit. ``line``: bytes of ``memory.max``, -1 none (version 2), written
    only if what is there is ``was``: its user may have written another limit meanwhile.
    """

    id: str
    limit: int | None = None
    cpu: int | None = None
    waits: bool | None = None
    floor: int | None = None
    low: int | None = None
    disk: int | None = None
    disk_weight: int | None = None
    line: int | None = None
    was: int = -1


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What was read back: bytes, -1 unlimited, None unknown. ``line``: ``memory.max``, None with
    version 1. ``failure``: what did not work."""

    id: str
    limit: int | None = None
    use: int | None = None
    line: int | None = None
    failure: str = ""


class Governed(msgspec.Struct, frozen=True, kw_only=True):
    """One for each guest that was asked for, in order."""

    held: tuple[Held, ...] = ()


class Safe(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest gets when the governor is gone: see :class:`Hold`. ``thaw``: it was frozen by
    the governor."""

    id: str
    limit: int | None = None
    cpu: int | None = None
    thaw: bool = False
    low: int | None = None
    disk: int | None = None
    disk_weight: int | None = None
    line: int | None = None


class Woken(msgspec.Struct, frozen=True, kw_only=True):
    """A guest was put to sleep and has been thawed. ``why``: ``traffic``, ``input`` (for its
    standard input), or ``unwatched``: nobody would have heard any. ``at``: Unix nanoseconds when
    the frame came, 0 when not known; ``micros``: microseconds from then until it was thawed."""

    why: str
    at: int = 0
    micros: int = 0


class SwapDevice(msgspec.Struct, frozen=True, kw_only=True):
    """The instance's own swap: the number of its zram device, None when it has none."""

    number: int | None = None
