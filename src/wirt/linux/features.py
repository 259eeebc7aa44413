"""Facts about this host that decide what a guest can be given. Read once, then plain values.

Engines plan from :class:`HostFacts` alone, so that a plan is a pure function of values, and a test
can ask what would happen on another host.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from wirt.linux.cgroup import Cgroups, Mode

CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
"""Names without ``CAP_`` by number (linux/capability.h)."""

RLIMITS = {
    "core": "Max core file size", "cpu": "Max cpu time", "data": "Max data size",
    "fsize": "Max file size", "locks": "Max file locks", "memlock": "Max locked memory",
    "msgqueue": "Max msgqueue size", "nice": "Max nice priority", "nofile": "Max open files",
    "nproc": "Max processes", "rss": "Max resident set", "rtprio": "Max realtime priority",
    "rttime": "Max realtime timeout", "sigpending": "Max pending signals",
    "stack": "Max stack size", "as": "Max address space",
}  # fmt: skip
"""Limits by docker's names, with their titles in ``/proc/PID/limits``."""

UNLIMITED = 2**64 - 1
"""RLIM_INFINITY."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What the host allows. Sizes are bytes; ``rlimits`` are the hard limits by docker's names.

    ``bounding``: capabilities without ``CAP_`` that a process started by the helper can have.
    ``machine``: as ``uname -m``; ``kernel``: major and minor version. ``cpus``: numbers of online
    CPUs. ``controllers``: cgroup controllers in use. ``swap_limit``: swap can be limited.
    ``most_files``: the kernel's bound of RLIMIT_NOFILE. ``disks``: as ``major:minor``, those that
    guests' files are on, if that was looked up. ``strict_memory``: the kernel promises no more of
    it than there is (``vm.overcommit_memory=2``).
    """

    bounding: frozenset[str]
    rlimits: dict[str, int]
    cgroup: Mode
    controllers: frozenset[str] = frozenset()
    swap_limit: bool = True
    machine: str = "x86_64"
    kernel: tuple[int, int] = (6, 1)
    cpus: frozenset[int] = frozenset({0})
    memory: int = 0
    user_namespaces: bool = True
    most_files: int = 1_048_576
    disks: tuple[str, ...] = ()
    strict_memory: bool = False

    @property
    def loads_device_filters(self) -> bool:
        """Whether crun can confine devices. With version 2 that is a BPF program, for which it
        lifts RLIMIT_MEMLOCK first and fails when it may not."""
        return (
            self.cgroup is not Mode.V2
            or "SYS_RESOURCE" in self.bounding
            or self.rlimits.get("memlock", UNLIMITED) == UNLIMITED
        )


def read_facts(*, pid: int | str = "self", proc: Path = Path("/proc")) -> HostFacts:
    """The facts for programs started by process ``pid`` (the root helper). Raises OSError."""
    status = (proc / str(pid) / "status").read_text()
    cgroups = Cgroups.detect(proc=proc)
    return HostFacts(
        bounding=parse_capabilities(_field(status, "CapBnd")),
        rlimits=parse_limits((proc / str(pid) / "limits").read_text()),
        cgroup=cgroups.mode,
        controllers=cgroups.controllers,
        swap_limit=_swap_limit(cgroups),
        machine=platform.machine(),
        kernel=parse_release(os.uname().release),
        cpus=parse_cpus(Path("/sys/devices/system/cpu/online").read_text()),
        memory=parse_meminfo((proc / "meminfo").read_text())["MemTotal"],
        user_namespaces=_user_namespaces(proc),
        most_files=int((proc / "sys/fs/nr_open").read_text()),
        strict_memory=(proc / "sys/vm/overcommit_memory").read_text().strip() == "2",
    )


def _field(status: str, name: str) -> str:
    match = re.search(rf"^{name}:\s*(\S+)", status, re.MULTILINE)
    return match[1] if match else "0"


def parse_capabilities(mask: str) -> frozenset[str]:
    """The names behind a hexadecimal mask as in ``/proc/PID/status``; unknown bits are ignored."""
    bits = int(mask, 16)
    return frozenset(name for bit, name in enumerate(CAPABILITIES) if bits >> bit & 1)


def parse_limits(text: str) -> dict[str, int]:
    """Hard limits by docker's names from ``/proc/PID/limits`` (proc(5))."""
    titles = {title: name for name, title in RLIMITS.items()}
    found: dict[str, int] = {}
    for line in text.splitlines():
        name = titles.get(line[:26].strip())
        if name is not None:
            hard = line[26:].split()[1]
            found[name] = UNLIMITED if hard == "unlimited" else int(hard)
    return found


def parse_release(release: str) -> tuple[int, int]:
    """Major and minor number of ``uname -r``; (0, 0) when there are none."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def parse_cpus(text: str) -> frozenset[int]:
    """The numbers of a list such as ``0-2,4`` (cpuset(7), "List format").

    Raises ValueError for anything else, also for a number above 8191, the kernel's largest.
    """
    found: set[int] = set()
    for part in text.strip().split(","):
        match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part.strip(), re.ASCII)
        if match is None:
            raise ValueError(text)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last > 8191:
            raise ValueError(text)
        found.update(range(first, last + 1))
    return frozenset(found)


def parse_meminfo(text: str) -> dict[str, int]:
    """Bytes by name from ``/proc/meminfo``."""
    return {
        match[1]: int(match[2]) * 1024 for match in re.finditer(r"(?m)^(\S+):\s+(\d+) kB", text)
    }


def _swap_limit(cgroups: Cgroups) -> bool:
    if cgroups.mode is Mode.V2:
        # The root has no such file; any group below it shows whether the kernel can.
        assert cgroups.v2 is not None
        groups = [group for group in cgroups.v2.iterdir() if group.is_dir()]
        with_memory = [group for group in groups if (group / "memory.max").exists()]
        return not with_memory or (with_memory[0] / "memory.swap.max").exists()
    memory = cgroups.v1.get("memory")
    return memory is not None and (memory / "memory.memsw.limit_in_bytes").exists()


def _user_namespaces(proc: Path) -> bool:
    try:
        return int((proc / "sys/user/max_user_namespaces").read_text()) > 0
    except (OSError, ValueError):
        return False
