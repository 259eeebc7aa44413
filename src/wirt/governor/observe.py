"""What was seen of guests and host in one tick. Every field may be None: unknown, never zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One guest. Rates are per second since the last tick; sizes are bytes.

    ``cpu``: millicores used; ``cpu_wait``: millicores it waited for a processor (run delay or
    pressure). ``memory``: what it holds; ``memory_limit``: what it may hold now; ``anon``: what
    cannot be taken from it here; ``swap``: what of it was swapped out. ``refaults``: pages that
    were read again shortly after they had been taken, swap-ins included. ``under_oom``: it stands
    still for want of memory.
    ``margin``: bytes beyond what it holds without which it would be short at once, of a machine.
    ``disk``: bytes moved; ``net_in`` and ``net_out``: bits. ``quiet``: seconds without work.
    """

    cpu: int | None = None
    cpu_wait: int | None = None
    memory: int | None = None
    memory_limit: int | None = None
    anon: int | None = None
    refaults: float | None = None
    under_oom: bool = False
    margin: int = 0
    disk: int | None = None
    net_in: int | None = None
    net_out: int | None = None
    quiet: float | None = None
    swap: int | None = None

    @property
    def blind(self) -> bool:
        """Nothing is known about its memory: it keeps what it has."""
        return self.memory is None or self.refaults is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One reading of everything. ``seconds``: since the last one, measured.

    ``free``: bytes of memory that the host has left; ``pressure``: the part of the time, 0 to 1,
    in which everything on the host stood still for want of memory (PSI full).
    """

    seconds: float
    guests: Mapping[str, Seen] = field(default_factory=dict)
    free: int | None = None
    pressure: float | None = None
