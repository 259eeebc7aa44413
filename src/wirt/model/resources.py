"""How much of the host a guest may use, and how much it uses."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

CPU_SHARES = range(2, 262_145)
"""Docker's, and the kernel's ``cpu.shares``."""
DOCKERS_SHARES = 1024
"""The normal ones of those."""
LEAST_NET_LIMIT = 8_000
"""Bits a second: a full packet takes a second and a half of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one guest, or a group of guests, may have; None means "not set", never zero.

    Of each resource there are three numbers: a *reservation*, which is guaranteed (0: nothing is),
    a *limit*, and *shares*, which weigh what is neither.

    CPU: ``cpu_reservation`` and the limit ``cpu_millis`` in thousandths of a core, the limit at
    least 10; ``cpu_shares`` as docker's, 2..262144, 1024 is normal. Memory: ``memory_reservation``
    and the limit ``memory`` in bytes, the limit at least 6 MiB (for machines it is the size of the
    guest); ``memory_shares`` 1..10000, 1000 is normal, as all shares below. Disk:
    ``io_reservation`` and ``io_limit`` in bytes a second, for reads and for writes each;
    ``io_shares``. Network: ``net_reservation`` and ``net_limit`` in bits a second, each way;
    ``net_shares``; a ``net_limit`` is at least 8,000.

    ``memory_swap``: memory plus swap in bytes, -1 unlimited. ``pids``: number of tasks, -1
    unlimited. ``cpuset``: list such as ``"0-2,4"``.

    In a wish 0 takes a number back: no limit, no reservation, normal shares, as if it had never
    been given.
    """

    cpu_millis: int | None = None
    cpu_shares: int | None = None
    cpuset: str | None = None
    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    pids: int | None = None
    cpu_reservation: int | None = None
    memory_shares: int | None = None
    io_reservation: int | None = None
    io_limit: int | None = None
    io_shares: int | None = None
    net_reservation: int | None = None
    net_limit: int | None = None
    net_shares: int | None = None


def merge(old: Resources, new: Resources) -> Resources:
    """``old`` with every value that ``new`` sets, and without those that it takes back by 0. A
    limit of memory takes that of memory and swap along, which means nothing without it."""
    changes = {field.name: getattr(new, field.name) for field in fields(Resources)}
    if new.memory == 0 and new.memory_swap is None:
        changes["memory_swap"] = 0
    return replace(
        old,
        **{
            name: None if value == 0 else value
            for name, value in changes.items()
            if value is not None
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One reading of what a guest uses; None means unknown, never zero.

    Times are nanoseconds since the guest's start, ``read_at`` is Unix time in nanoseconds,
    sizes are bytes. ``swap``: what of its memory was swapped out.
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
    swap: int | None = None
    pids: int | None = None
    block_read: int | None = None
    block_written: int | None = None
    net_received: int | None = None
    net_sent: int | None = None
