"""Writing limits into a cgroup, in the order that the kernel demands."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from wirt.errors import Conflict, Invalid, NotFound, Unsupported
from wirt.linux.cgroup import Cgroups, Mode, read_file, write_file
from wirt.model.resources import DOCKERS_SHARES, Resources

PERIOD = 100_000
"""Microseconds in which a CPU quota is counted, as docker's."""
_V1_RATES = ("blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device")
"""Bytes a second; 0 is no limit."""
DISK_WEIGHTS: Final = {"io.weight": 10_000, "io.bfq.weight": 1_000}
"""Files of version 2 with the weight of a group at disks, io.cost's and BFQ's, and their largest
values."""


def write(cgroups: Cgroups, path: str, resources: Resources, *, disks: Iterable[str] = ()) -> None:
    """Write the limits that are not None into group ``path``, which must exist; 0 is the kernel's
    own: no limit, or normal shares. When one of them is refused those before it are taken back.
    ``disks``: those that ``io_limit`` is for.

    Raises :class:`~wirt.errors.NotFound` when the group is gone, Unsupported when the host lacks
    a controller, Conflict when the kernel refuses since more is in use already, Invalid for CPUs
    that are not there.
    """
    if not any(directory.is_dir() for directory in cgroups.directories(path)):
        raise NotFound(f"control group {path} does not exist", code="cgroup.missing")
    if resources.memory == 0:
        resources = replace(resources, memory_swap=-1)
    writes = (
        _v2(cgroups, path, resources) if cgroups.mode is Mode.V2 else _v1(cgroups, path, resources)
    )
    if resources.io_limit is not None:
        writes += _disk_writes(cgroups, disks, resources.io_limit)
    done: list[tuple[Path, str]] = []
    try:
        for controller, name, value in writes:
            directory = cgroups.directory(controller, path)
            if directory is None:
                raise _no_controller(controller)
            _write(directory / name, value, controller, done)
    except BaseException:
        for file, before in reversed(done):
            with contextlib.suppress(OSError):  # the group itself may be gone
                write_file(file, before or "\n")
        raise


def _write(file: Path, value: str, controller: str, done: list[tuple[Path, str]]) -> None:
    """Write one limit and remember what was there."""
    try:
        before = _before(file, value)
        write_file(file, value)
    except FileNotFoundError:
        if "memsw" in file.name or "swap" in file.name:
            return  # a kernel without swap accounting; the engine has warned
        if file.parent.is_dir():  # version 2 makes the files with the controller
            raise _no_controller(controller) from None
        raise
    except OSError as error:
        raise _refused(error, file, value) from error
    done.append((file, before))


def _before(file: Path, value: str) -> str:
    """What to write to have back what is there; files about disks have a line for each that has a
    limit."""
    text = read_file(file).strip()
    if file.name not in {*_V1_RATES, "io.max"}:
        return text
    disk = value.split()[0]
    lines = [line for line in text.splitlines() if line.split()[0] == disk]
    return lines[0] if lines else f"{disk} {_rates(0) if file.name == 'io.max' else 0}"


def io_limit(cgroups: Cgroups, path: str) -> int | None:
    """Bytes a second that group ``path`` may read and write, 0: no limit. None when the kernel has
    not one figure for both and all disks."""
    if cgroups.mode is Mode.V2:
        words = _words(cgroups, "io", path, "io.max")
        rates = {word[5:] for word in words if word.startswith(("rbps=", "wbps="))}
    else:
        reads, writes = (_words(cgroups, "blkio", path, name) for name in _V1_RATES)
        if reads != writes:
            return None
        rates = set(reads[1::2])
    match [0 if rate == "max" else int(rate) for rate in rates]:
        case []:
            return 0
        case [rate]:
            return rate
    return None


def _words(cgroups: Cgroups, controller: str, path: str, name: str) -> list[str]:
    directory = cgroups.directory(controller, path)
    return [] if directory is None else read_file(directory / name).split()


def count_disks(cgroups: Cgroups, path: str, disks: Iterable[str]) -> None:
    """Let the kernel count what groups read and write on these disks. With version 1 it begins when
    the first limit of a disk is written, whoever it is for, even if it says none (Linux 6.9 on:
    ``blk_throtl_init`` runs no earlier). A disk that refuses is not counted."""
    directory = None if cgroups.mode is Mode.V2 else cgroups.directory("blkio", path)
    if directory is None:
        return
    for disk in disks:
        with contextlib.suppress(OSError):
            write_file(directory / _V1_RATES[0], f"{disk} 0")


def _disk_writes(cgroups: Cgroups, disks: Iterable[str], rate: int) -> list[tuple[str, str, str]]:
    if cgroups.mode is Mode.V2:
        return [("io", "io.max", f"{disk} {_rates(rate)}") for disk in disks]
    return [("blkio", name, f"{disk} {rate}") for disk in disks for name in _V1_RATES]


def _rates(rate: int) -> str:
    return f"rbps={rate or 'max'} wbps={rate or 'max'}"


def weight(shares: int) -> int:
    """Version 2's cpu.weight (1..10000) for docker's shares (2..262144), in the same proportions:
    the kernel's normal weight is 100, docker's normal shares are 1024. Shares above 102400 get the
    largest weight.

    The formula that spreads all shares over all weights makes 39 of 1024, so a guest with twice
    the normal shares would get less than one that asked for none.
    """
    return min(max((shares * 100 + 512) // 1024, 1), 10_000)


def _v2(cgroups: Cgroups, path: str, r: Resources) -> list[tuple[str, str, str]]:
    writes: list[tuple[str, str, str]] = []
    if r.cpu_millis is not None:
        writes.append(("cpu", "cpu.max", f"{_quota(r.cpu_millis) or 'max'} {PERIOD}"))
    if r.cpu_shares is not None:
        writes.append(("cpu", "cpu.weight", str(weight(r.cpu_shares or DOCKERS_SHARES))))
    if r.cpuset is not None:
        writes.append(("cpuset", "cpuset.cpus", r.cpuset))
    if r.memory_reservation is not None:
        writes.append(("memory", "memory.low", str(r.memory_reservation)))
    if r.memory is not None:
        writes.append(("memory", "memory.max", str(r.memory or "max")))
    if r.memory_swap is not None:
        writes.append(("memory", "memory.swap.max", _swap(cgroups, path, r)))
    if r.pids is not None:
        writes.append(("pids", "pids.max", _pids(r.pids)))
    return writes


def _swap(cgroups: Cgroups, path: str, r: Resources) -> str:
    """Version 2 counts swap alone, docker memory and swap together: what is above the limit of
    memory, the new one or the one in force."""
    assert r.memory_swap is not None
    if r.memory_swap < 0:
        return "max"
    memory = r.memory
    if memory is None:
        directory = cgroups.directory("memory", path) or Path("/nonexistent")
        now = read_file(directory / "memory.max").strip()
        memory = int(now) if now.isdecimal() else 0
    return str(max(0, r.memory_swap - memory))


def _v1(cgroups: Cgroups, path: str, r: Resources) -> list[tuple[str, str, str]]:
    writes: list[tuple[str, str, str]] = []
    if r.cpu_millis is not None:
        writes.append(("cpu", "cpu.cfs_period_us", str(PERIOD)))
        writes.append(("cpu", "cpu.cfs_quota_us", str(_quota(r.cpu_millis) or -1)))
    if r.cpu_shares is not None:
        writes.append(("cpu", "cpu.shares", str(r.cpu_shares or DOCKERS_SHARES)))
    if r.cpuset is not None:
        writes.append(("cpuset", "cpuset.cpus", r.cpuset))
    if r.memory_reservation is not None:
        soft = str(r.memory_reservation or -1)
        writes.append(("memory", "memory.soft_limit_in_bytes", soft))
    writes.extend(_v1_memory(cgroups, path, r))
    if r.pids is not None:
        writes.append(("pids", "pids.max", _pids(r.pids)))
    return writes


def _v1_memory(cgroups: Cgroups, path: str, r: Resources) -> list[tuple[str, str, str]]:
    """memory <= memory+swap must hold after each write: growing starts with the latter."""
    memory: list[tuple[str, str, str]] = []
    both: list[tuple[str, str, str]] = []
    if r.memory is not None:
        memory.append(("memory", "memory.limit_in_bytes", str(r.memory or -1)))
    if r.memory_swap is not None:
        both.append(("memory", "memory.memsw.limit_in_bytes", str(r.memory_swap)))
    elif r.memory is not None:
        directory = cgroups.directory("memory", path) or Path("/nonexistent")
        now = read_file(directory / "memory.memsw.limit_in_bytes").strip()
        if now.isdecimal() and int(now) < r.memory:
            raise Conflict(
                f"the memory limit of {r.memory} bytes is above the limit of memory and swap, "
                f"{now} bytes",
                hint="give a new limit of memory and swap too",
                code="limit.swap",
            )
    if not (memory and both):
        return memory + both
    directory = cgroups.directory("memory", path) or Path("/nonexistent")
    now = read_file(directory / "memory.limit_in_bytes").strip()
    growing = not r.memory or (now.isdecimal() and int(now) < r.memory)
    return both + memory if growing else memory + both


def _quota(millis: int) -> int:
    """Microseconds in a period, 0: no limit."""
    return max(1000, millis * PERIOD // 1000) if millis else 0


def _pids(pids: int) -> str:
    return "max" if pids <= 0 else str(pids)


def _no_controller(controller: str) -> Unsupported:
    return Unsupported(
        f"this host has no {controller} control group",
        hint="the doctor command names what is missing",
        code="cgroup.controller",
    )


def _refused(error: OSError, file: Path, value: str) -> Exception:
    name = file.name
    if name.startswith("cpuset."):
        return Invalid(
            f"CPUs {value!r} are not there",
            hint=f"this host has {read_file(file.parent.parent / name).strip()}",
            code="limit.cpuset",
        )
    if name.startswith("memory.") and error.errno is not None:
        return Conflict(
            f"the kernel refuses {name} = {value}: {error.strerror}",
            hint="more than that is in use already",
            code="limit.memory",
        )
    return Invalid(f"the kernel refuses {name} = {value}: {error.strerror}", code="limit.refused")
