"""How much of the host a guest may use, and how much it uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Limits of one guest; None means "no limit set", never zero.

    ``cpu_millis``: CPU limit in thousandths of a core, at least 10. ``cpu_shares``: relative
    weight as docker's, 2..262144, 1024 is normal. ``memory``: bytes, at least 6 MiB; for machines
    it is the size of the guest. ``memory_swap``: memory plus swap in bytes, -1 unlimited.
    ``memory_reservation``: soft limit in bytes. ``pids``: number of tasks, -1 unlimited.
    ``cpuset``: list such as ``"0-2,4"``.
    """

    cpu_millis: int | None = None
    cpu_shares: int | None = None
    cpuset: str | None = None
    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One reading of what a guest uses; None means unknown, never zero.

    Times are nanoseconds since the guest's start, ``read_at`` is Unix time in nanoseconds,
    sizes are bytes.
    """

    read_at: int
    cpu_ns: int | None = None
    cpu_user_ns: int | None = None
    cpu_system_ns: int | None = None
    cpu_throttled_ns: int | None = None
    memory: int | None = None
    memory_cache: int | None = None
    memory_limit: int | None = None
    memory_peak: int | None = None
    pids: int | None = None
    block_read: int | None = None
    block_written: int | None = None
    net_received: int | None = None
    net_sent: int | None = None
