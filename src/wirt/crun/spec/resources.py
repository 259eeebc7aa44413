"""Limits: the ``linux.resources`` object, and what can be asked for at all.

The same object serves cgroup v1 and v2: crun converts swap plus memory to swap alone where the host
has v2. Shares of CPU are converted here, for crun's weights depend on its version and keep no
proportions (see :func:`wirt.linux.limits.weight`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from wirt.crun.spec.devices import device_rules
from wirt.crun.spec.process import Json
from wirt.errors import Invalid, Unsupported
from wirt.linux.cgroup import Mode
from wirt.linux.features import HostFacts, parse_cpus
from wirt.linux.limits import weight
from wirt.model.resources import CPU_SHARES, Resources
from wirt.model.units import format_size

CPU_PERIOD = 100_000
"""Microseconds; docker's period."""

MIN_MEMORY = 6 * 1024 * 1024
"""Docker's smallest limit: with less not even crun's own first process lives."""

MAX_SIZE = 2**62
"""Bytes; crun reads 64-bit numbers, and doubling for swap must not overflow them."""

MIN_CPU_MILLIS = 10
"""Thousandths of a core: the kernel's smallest quota is 1 ms in a period of 100 ms."""


def check_resources(wish: Resources, facts: HostFacts) -> None:
    """Raise :class:`Invalid` for an impossible limit, Unsupported for one this host lacks."""
    _check_cpu(wish, facts)
    _check_memory(wish)
    if wish.pids is not None and (wish.pids < -1 or wish.pids > 2**22):
        raise Invalid(
            f"a limit of {wish.pids} processes is out of range",
            hint="write -1 (unlimited) or a number up to 4194304",
        )
    _check_controllers(wish, facts)


def _check_cpu(wish: Resources, facts: HostFacts) -> None:
    if wish.cpu_millis is not None:
        most = len(facts.cpus) * 1000
        if not MIN_CPU_MILLIS <= wish.cpu_millis <= most:
            raise Invalid(
                f"--cpus {wish.cpu_millis / 1000:g} is out of range",
                hint=f"this host has {len(facts.cpus)} CPUs: write 0.01 to {len(facts.cpus)}",
            )
    if wish.cpu_shares is not None and wish.cpu_shares not in CPU_SHARES:
        raise Invalid(
            f"CPU shares of {wish.cpu_shares} are out of range",
            hint=f"write {CPU_SHARES[0]} to {CPU_SHARES[-1]}",
        )
    if wish.cpuset is not None:
        try:
            wanted = parse_cpus(wish.cpuset)
        except ValueError:
            raise Invalid(
                f"invalid list of CPUs {wish.cpuset[:60]!r}", hint="write a list such as 0-2,4"
            ) from None
        if not wanted <= facts.cpus:
            raise Invalid(
                f"this host has no CPU {min(wanted - facts.cpus)}",
                hint=f"its CPUs are {', '.join(map(str, sorted(facts.cpus)))}",
            )


def _check_memory(wish: Resources) -> None:
    memory, swap = wish.memory, wish.memory_swap
    for size in (memory, swap, wish.memory_reservation):
        if size is not None and size > MAX_SIZE:
            raise Invalid(f"a limit of {size} bytes is out of range", hint="the largest is 4 EiB")
    if memory is not None and memory < MIN_MEMORY:
        raise Invalid(
            f"a memory limit of {format_size(memory)} is too small",
            hint=f"the smallest is {format_size(MIN_MEMORY)}",
        )
    if swap is not None and swap != -1:
        if memory is None:
            raise Invalid(
                "a limit of memory and swap without one of memory", hint="give --memory too"
            )
        if swap < memory:
            raise Invalid(
                f"memory and swap together ({format_size(swap)}) are less than memory alone "
                f"({format_size(memory)})",
                hint="--memory-swap counts both; -1 is unlimited",
            )
    soft = wish.memory_reservation
    if soft and soft < MIN_MEMORY:
        raise Invalid(
            f"a memory reservation of {format_size(max(soft, 0))} is too small",
            hint=f"write 0 for none, or at least {format_size(MIN_MEMORY)}",
        )
    if soft and memory is not None and soft > memory:
        raise Invalid(
            f"a memory reservation of {format_size(soft)} is above the limit of "
            f"{format_size(memory)}",
            hint="what is guaranteed must be allowed: raise the limit or lower the reservation",
        )


def _check_controllers(wish: Resources, facts: HostFacts) -> None:
    wanted = {
        "memory": wish.memory is not None or wish.memory_reservation is not None,
        "pids": wish.pids not in (None, -1),
        "cpu": wish.cpu_millis is not None or wish.cpu_shares is not None,
        "cpuset": wish.cpuset is not None,
        "io" if facts.cgroup is Mode.V2 else "blkio": bool(wish.io_limit),
    }
    for controller, needed in wanted.items():
        if needed and controller not in facts.controllers:
            raise Unsupported(
                f"this host cannot limit {controller}: the cgroup controller is not there",
                hint="see wirt doctor",
            )
    if wish.io_limit and not facts.disks:
        raise Unsupported(
            "this host cannot limit disks: what guests write is on none",
            hint="leave out --io-limit, or put the daemon's state on a disk",
        )


def effective(wish: Resources, facts: HostFacts) -> tuple[Resources, tuple[str, ...]]:
    """The limits really set, with docker's default for swap (twice the memory), and warnings."""
    warnings = []
    if wish.io_limit and facts.cgroup is not Mode.V2:
        warnings.append(
            "control groups version 1 limit reads and direct writes, not what is written through "
            "the host's cache"
        )
    if wish.memory is None:
        return wish, tuple(warnings)
    swap = wish.memory_swap if wish.memory_swap is not None else 2 * wish.memory
    if not facts.swap_limit:
        if wish.memory_swap is not None:
            warnings.append("this kernel cannot limit swap: only memory is limited")
        return replace(wish, memory_swap=None), tuple(warnings)
    return replace(wish, memory_swap=swap), tuple(warnings)


def resources(limits: Resources, facts: HostFacts, *, fence: int | None = None) -> Json:
    """OCI ``linux.resources`` (runtime-spec config-linux.md, "Control groups"). ``io_limit`` is for
    the host's ``disks``. ``fence``: bytes of memory that it may have at first, until the governor
    has another limit: version 1's own, version 2's ``memory.high`` and ``memory.max``."""
    made: Json = {"devices": device_rules()}
    if cpu := _cpu(limits, facts):
        made["cpu"] = cpu
    if facts.cgroup is not Mode.V2 and fence is not None:
        limits = replace(limits, memory=fence)
    elif facts.cgroup is Mode.V2 and (files := _files(limits, fence)):
        made["unified"] = files
    memory: Json = {}
    if limits.memory is not None:
        memory["limit"] = limits.memory
    if limits.memory_swap is not None:
        memory["swap"] = limits.memory_swap
    if limits.memory_reservation:
        memory["reservation"] = limits.memory_reservation
    if memory:
        made["memory"] = memory
    if limits.pids not in {None, -1}:  # a new group has no limit, and crun 1.8 cannot write one
        made["pids"] = {"limit": limits.pids}
    made.update(_block(limits.io_limit, facts.disks))
    return made


def _cpu(limits: Resources, facts: HostFacts) -> Json:
    cpu: Json = {}
    if limits.cpu_millis is not None:
        cpu["quota"] = limits.cpu_millis * CPU_PERIOD // 1000
        cpu["period"] = CPU_PERIOD
    if limits.cpu_shares is not None and facts.cgroup is not Mode.V2:
        cpu["shares"] = limits.cpu_shares
    if limits.cpuset is not None:
        cpu["cpus"] = limits.cpuset
    return cpu


def _files(limits: Resources, fence: int | None) -> Json:
    """Files of version 2 that the other keys have no words for."""
    made: Json = {}
    if limits.cpu_shares is not None:
        made["cpu.weight"] = str(weight(limits.cpu_shares))
    if fence is not None:
        made["memory.high"] = made["memory.max"] = str(fence)  # goes before the user's own
    return made


def _block(rate: int | None, disks: Iterable[str]) -> Json:
    if not rate:
        return {}
    rates: list[Json] = []
    for disk in disks:
        major, _, minor = disk.partition(":")
        rates.append({"major": int(major), "minor": int(minor), "rate": rate})
    return {"blockIO": {"throttleReadBpsDevice": rates, "throttleWriteBpsDevice": rates}}
