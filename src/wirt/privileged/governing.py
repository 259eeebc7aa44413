"""The governor's writes into one control group: what is quick, what takes back, what is safe.

Version 1 has one limit, which a guest may meet only with somebody at hand to raise it. Version 2
has two: what the governor gives is ``memory.high``, at which a guest is slowed down; ``memory.max``
is what the user said, or a line below it, at which the guest ends before the pool is full.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wirt.errors import NotFound, WirtError
from wirt.linux import limits, pressure
from wirt.linux.cgroup import Cgroups, Mode, read_file, write_file
from wirt.model.resources import Resources
from wirt.privileged.faults import fault
from wirt.privileged.holds import Held, Hold, Safe, as_bound

BITE: Final = 16 << 20
"""Bytes that are taken back at a time: swapping them out takes a tenth of a second."""
NO_LIMIT: Final = 1 << 60
"""Version 1 writes "no limit" as the largest multiple of the page size."""
_PAGES: Final = 1 << 20
"""Bytes that the kernel may have charged to the group in advance, per processor batch."""


def hold(cgroups: Cgroups, path: str, wanted: Hold, *, disks: Sequence[str] = ()) -> Held:
    """Write what is quick. Whatever fails is told, and the rest is done nevertheless. ``disks``:
    those that ``wanted.disk`` is for."""
    failures: list[str] = []
    memory = cgroups.directory("memory", path)
    if wanted.cpu is not None:
        name = "cpu.weight" if cgroups.mode is Mode.V2 else "cpu.shares"
        _try(cgroups.directory("cpu", path), name, str(wanted.cpu), failures)
    if cgroups.mode is Mode.V2:
        _promise(cgroups, memory, wanted, failures)
    if wanted.disk_weight is not None:
        _weigh_disks(cgroups, path, wanted.disk_weight, failures)
    if wanted.disk is not None:
        _rates(cgroups, path, wanted.disk, disks, failures)
    if wanted.waits and cgroups.mode is not Mode.V2:
        _try(memory, "memory.oom_control", "1", failures)
    if wanted.limit is not None:
        if _takes(cgroups, memory, wanted.limit):
            failures.append("in use")
        else:
            _try(memory, _limit(cgroups), _text(cgroups, wanted.limit), failures)
    if wanted.waits is False and cgroups.mode is not Mode.V2:
        _try(memory, "memory.oom_control", "0", failures)
    return _read(cgroups, path, wanted.id, failures)


def squeeze(cgroups: Cgroups, path: str, wanted: Hold) -> Held:
    """Take back until the guest holds no more than ``wanted.limit``, or nothing more comes."""
    assert wanted.limit is not None
    failures: list[str] = []
    memory = cgroups.directory("memory", path)
    if wanted.waits and cgroups.mode is not Mode.V2:
        _try(memory, "memory.oom_control", "1", failures)
    while not failures:
        use = _number(memory, _use(cgroups))
        if use is None:
            failures.append("it is gone")
            break
        bite = max(wanted.limit, use - BITE)
        if cgroups.mode is Mode.V2:
            if use > wanted.limit:
                _try(memory, "memory.reclaim", str(use - bite), failures)
            _try(memory, _limit(cgroups), str(bite), failures)
        else:
            _try(memory, _limit(cgroups), str(bite), failures)
        fault("squeeze.bite")
        if bite == wanted.limit:
            break
    return _read(cgroups, path, wanted.id, failures)


def release(cgroups: Cgroups, path: str, safe: Safe, *, disks: Sequence[str] = ()) -> None:
    """Give a guest what it has without a governor. Nothing that fails stops the rest."""
    failures: list[str] = []
    memory = cgroups.directory("memory", path)
    if safe.limit is not None:
        _try(memory, _limit(cgroups), _text(cgroups, safe.limit), failures)
        if cgroups.mode is not Mode.V2:
            _try(memory, "memory.oom_control", "0", failures)
    if safe.line is not None and cgroups.mode is Mode.V2:
        _try(memory, "memory.max", _text(cgroups, safe.line), failures)
    if safe.low is not None and cgroups.mode is Mode.V2:
        _try(memory, "memory.low", str(safe.low), failures)
    if safe.cpu is not None:
        name = "cpu.weight" if cgroups.mode is Mode.V2 else "cpu.shares"
        _try(cgroups.directory("cpu", path), name, str(safe.cpu), failures)
    if safe.disk_weight is not None:
        _weigh_disks(cgroups, path, safe.disk_weight, failures)
    if safe.disk is not None:
        _rates(cgroups, path, safe.disk, disks, failures)
    if safe.thaw:
        with contextlib.suppress(OSError):
            cgroups.freeze(path, False)


def protect(cgroups: Cgroups, path: str) -> None:
    """Protect a group of guests by as much as those in it are, with version 2: the kernel keeps a
    ``memory.min`` or ``memory.low`` only as far as the groups above have one, and where it hands on
    what is left of theirs (``memory_recursiveprot``), more would protect those who have none.
    What fails is done at the next time."""
    top = None if cgroups.mode is not Mode.V2 else cgroups.directory("memory", path)
    if top is None or not top.is_dir():
        return
    below = [one for one in top.iterdir() if one.is_dir()]
    for name in ("memory.min", "memory.low"):
        total = sum(_number(one, name) or 0 for one in below)
        if _number(top, name) != total:
            with contextlib.suppress(OSError):
                write_file(top / name, str(total))


def watch(cgroups: Cgroups, path: str) -> int:
    """An eventfd for the group's OOM state (cgroup-v1/memory.rst, "OOM Control"), with version 2 a
    trigger for its pressure.

    Raises NotFound when the group is gone, OSError where the kernel cannot tell.
    """
    directory = cgroups.directory("memory", path)
    if directory is None or not directory.is_dir():
        raise NotFound(f"control group {path} tells nothing", code="cgroup.missing")
    if cgroups.mode is Mode.V2:
        return pressure.trigger(directory / "memory.pressure")
    event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        control = os.open(directory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            write_file(directory / "cgroup.event_control", f"{event} {control}")
        finally:
            os.close(control)
    except BaseException:
        os.close(event)
        raise
    return event


def bound(cgroups: Cgroups, path: str, *, cpu_millis: int, memory: int) -> None:
    """Limit a group of guests; 0: no limit. Raises OSError (EBUSY) when more is in use.

    Version 2 would kill when its limit is set below what is in use, so that is asked for first.
    """
    cpu, mem = cgroups.directory("cpu", path), cgroups.directory("memory", path)
    v2 = cgroups.mode is Mode.V2
    if mem is not None:
        use = _number(mem, _use(cgroups)) or 0
        if v2 and memory and use > memory:
            with contextlib.suppress(OSError):
                write_file(mem / "memory.reclaim", str(use - memory))
            if (_number(mem, _use(cgroups)) or 0) > memory:
                raise OSError(errno.EBUSY, "more is in use", str(mem))
        name = "memory.max" if v2 else "memory.limit_in_bytes"
        write_file(mem / name, _text(cgroups, memory or -1))
    if cpu is not None:
        quota = cpu_millis * 100
        if v2:
            write_file(cpu / "cpu.max", f"{quota or 'max'} 100000")
        else:
            write_file(cpu / "cpu.cfs_quota_us", str(quota or -1))


def _rates(
    cgroups: Cgroups, path: str, rate: int, disks: Sequence[str], failures: list[str]
) -> None:
    try:
        limits.write(cgroups, path, Resources(io_limit=rate), disks=disks)
    except (OSError, WirtError) as error:
        failures.append(f"disk: {error}")


def _weigh_disks(cgroups: Cgroups, path: str, weight: int, failures: list[str]) -> None:
    """For whoever shares disks by weight on this host: io.cost, BFQ, or both."""
    directory = cgroups.directory("io", path) if cgroups.mode is Mode.V2 else None
    for name, most in limits.DISK_WEIGHTS.items():
        if directory is not None and (directory / name).exists():
            _try(directory, name, f"default {min(weight, most)}", failures)


def _promise(cgroups: Cgroups, memory: Path | None, wanted: Hold, failures: list[str]) -> None:
    """What version 2 has beside the limit: what is spared, and where it ends."""
    if wanted.floor is not None:
        _try(memory, "memory.min", str(wanted.floor), failures)
    if wanted.low is not None:
        _try(memory, "memory.low", str(wanted.low), failures)
    if wanted.line is not None:
        _draw(cgroups, memory, wanted.line, wanted.was, failures)


def _draw(cgroups: Cgroups, memory: Path | None, line: int, was: int, failures: list[str]) -> None:
    """Write ``memory.max``. A line that falls stays above what is in use: at or below it the kernel
    would begin to kill at once, when it finds nothing to drop fast enough."""
    now = _number(memory, "memory.max")
    if as_bound(now) != was:
        failures.append("changed meanwhile")
        return
    if line >= 0 and (now is None or line < now):
        line = max(line, (_number(memory, "memory.current") or 0) + _PAGES)
        if now is not None and line >= now:
            return
    _try(memory, "memory.max", _text(cgroups, line), failures)


def _takes(cgroups: Cgroups, memory: Path | None, limit: int) -> bool:
    """Whether to write this limit would take something out of use, which takes its time."""
    use = _number(memory, _use(cgroups))
    if limit < 0 or use is None or use <= limit - _PAGES:
        return False
    now = _number(memory, _limit(cgroups))
    return now is None or limit < now


def _read(cgroups: Cgroups, path: str, guest_id: str, failures: list[str]) -> Held:
    memory = cgroups.directory("memory", path)
    limit = _bound(memory, _limit(cgroups))
    return Held(
        id=guest_id,
        line=_bound(memory, "memory.max") if cgroups.mode is Mode.V2 else None,
        limit=-1 if limit is not None and limit >= NO_LIMIT else limit,
        use=_number(memory, _use(cgroups)),
        failure="; ".join(failures),
    )


def _bound(memory: Path | None, name: str) -> int | None:
    """Bytes of a limit, -1: none; None when the group is gone."""
    number = _number(memory, name)
    return -1 if number is None and memory is not None and memory.is_dir() else number


def _limit(cgroups: Cgroups) -> str:
    return "memory.high" if cgroups.mode is Mode.V2 else "memory.limit_in_bytes"


def _use(cgroups: Cgroups) -> str:
    return "memory.current" if cgroups.mode is Mode.V2 else "memory.usage_in_bytes"


def _text(cgroups: Cgroups, limit: int) -> str:
    return str(limit) if limit >= 0 or cgroups.mode is not Mode.V2 else "max"


def _number(directory: Path | None, name: str) -> int | None:
    text = "" if directory is None else read_file(directory / name).strip()
    return int(text) if text.isdecimal() else None


def _try(directory: Path | None, name: str, text: str, failures: list[str]) -> None:
    if directory is None:
        failures.append(f"no {name}")
        return
    try:
        write_file(directory / name, text)
    except OSError as error:
        failures.append(f"{name}: {os.strerror(error.errno or 0)}")
