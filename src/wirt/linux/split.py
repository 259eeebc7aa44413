"""Where a guest's processor time goes, and how long it stands still: read from outside of it.

Sources: proc_pid_stat(5); Documentation/accounting/psi.rst and admin-guide/cgroup-v2.rst of the
kernel. Everything here is world-readable.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wirt.linux import procfs
from wirt.linux.cgroup import Cgroups, Mode, read_file
from wirt.linux.usage import read

MOST_PROCESSES = 4096
"""Of more processes the guest mode is not added up."""
_GUEST_TIME = 40
"""Place of ``guest_time`` behind the name in /proc/PID/stat: field 43."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Nanoseconds since the guest's start; None is unknown.

    ``user``: in programs, guest mode not included; ``system``: in the kernel for them; ``guest``:
    in guest mode, running the virtual processors of machines (by emulation it is user time).
    ``total``: of all; the kernel counts it finer than its parts.
    """

    at: int
    total: int | None = None
    user: int | None = None
    system: int | None = None
    guest: int | None = None


def split(cgroups: Cgroups, path: str, *, proc: Path = procfs.PROC) -> Split:
    """The times of group ``path``."""
    usage = read(cgroups, path)
    guest = _guest_time(cgroups, path, proc)
    user = usage.cpu_user_ns
    return Split(
        at=usage.read_at,
        total=usage.cpu_ns,
        user=None if user is None else max(user - (guest or 0), 0),
        system=usage.cpu_system_ns,
        guest=guest,
    )


def pressure(cgroups: Cgroups, path: str) -> dict[str, float]:
    """Parts (0 to 1) of the last ten seconds in which something in the group waited, by what it
    waited for: ``cpu``, ``memory``, ``io``. What the kernel does not tell is not there."""
    if cgroups.v2 is None:
        return {}
    group = cgroups.v2 / path.lstrip("/")
    found = {}
    for kind in ("cpu", "memory", "io"):
        value = some(read_file(group / f"{kind}.pressure"))
        if value is not None:
            found[kind] = value
    return found


def some(text: str) -> float | None:
    """The ``avg10`` of the line ``some`` as a part of the time."""
    for line in text.splitlines():
        if line.startswith("some "):
            for word in line.split():
                name, _, value = word.partition("=")
                if name == "avg10":
                    return _percent(value)
    return None


def _percent(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return min(value / 100, 1.0) if value >= 0 else None


def _guest_time(cgroups: Cgroups, path: str, proc: Path) -> int | None:
    controller = "" if cgroups.mode is Mode.V2 else "cpuacct"
    where = cgroups.directory(controller, path) if controller else None
    if cgroups.mode is Mode.V2 and cgroups.v2 is not None:
        where = cgroups.v2 / path.lstrip("/")
    if where is None:
        return None
    pids = read_file(where / "cgroup.procs").split()
    if not pids or len(pids) > MOST_PROCESSES:
        return None
    ticks = sum(_ticks(proc / pid / "stat") for pid in pids if pid.isdecimal())
    return ticks * 10**9 // os.sysconf("SC_CLK_TCK")


def _ticks(path: Path) -> int:
    """Clock ticks in guest mode of one process; 0 when it has just gone."""
    text = procfs.read(path)
    if not text:
        return 0
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[_GUEST_TIME]) if len(fields) > _GUEST_TIME else 0
