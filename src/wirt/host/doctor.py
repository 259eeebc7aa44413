"""Look at this host for :mod:`wirt.host.symptoms` to judge. Needs neither root nor the daemon."""

from __future__ import annotations

import shutil
from pathlib import Path

from wirt.errors import WirtError
from wirt.host.symptoms import Host, Report, judge
from wirt.layout import Layout
from wirt.linux import procfs, seccomp, spawn
from wirt.linux.features import HostFacts, parse_meminfo, read_facts
from wirt.privileged.client import helper_pid
from wirt.qemu import accel
from wirt.qemu import host as machines
from wirt.qemu.host import MachineHost

PROGRAMS = ("crun", "nft", "mkfs.erofs", "ps")
"""Programs looked for in PATH; QEMU and virtiofsd are the machines' own matter."""

VERDICT = "doctor.json"
"""File in the state directory that remembers what machines can have here. Not the daemon's own:
root and the daemon's user are not offered the same, and only one of them may write a file there."""


class Doctor:
    """Looks at the host for one instance. ``native``: directory of the native programs."""

    def __init__(self, *, layout: Layout, guest_dir: Path, native: Path) -> None:
        self._layout = layout
        self._guest_dir = guest_dir
        self._native = native

    def report(self) -> Report:
        """Look and judge. Blocks, up to 25 s when KVM must be proven: call it in a thread."""
        return judge(self.look())

    def look(self) -> Host:
        """What there is on this host."""
        state = _existing(self._layout.state)
        usage = shutil.disk_usage(state)
        pid = helper_pid(self._layout.helper_socket)
        memory = parse_meminfo(Path("/proc/meminfo").read_text())
        return Host(
            facts=_facts(pid),
            machine=self._machine(),
            programs={name: shutil.which(name, path=spawn.PATH) for name in PROGRAMS},
            overlay=_knows_overlay(),
            file_system=_file_system(state),
            disk_free=usage.free,
            memory_free=memory.get("MemAvailable", 0),
            forwarding=(procfs.read(Path("/proc/sys/net/ipv4/ip_forward")) or "0").strip() == "1",
            null=_null_is_null(),
            kvm_device=Path("/dev/kvm").exists(),
            seccomp_problem=seccomp.available(),
            helper=pid is not None,
            native=all((self._native / name).exists() for name in ("wirt-keeper", "wirt-init")),
        )

    def _machine(self) -> MachineHost:
        try:
            return machines.examine(self._guest_dir, self._layout.state / VERDICT)
        except (WirtError, OSError) as error:
            problem = str(error)
            return MachineHost(accelerator=accel.emulation(problem), problem=problem)


def _facts(pid: int | None) -> HostFacts:
    """The helper's, since it starts guests; ours where it does not run or may not be looked at."""
    if pid is not None:
        try:
            return read_facts(pid=pid)
        except OSError:
            pass
    return read_facts()


def _existing(path: Path) -> Path:
    """The path, or the nearest directory above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def _knows_overlay() -> bool:
    known = procfs.read(Path("/proc/filesystems")) or ""
    release = Path("/proc/sys/kernel/osrelease").read_text().strip()
    modules = Path("/lib/modules") / release / "kernel/fs/overlayfs"
    return "\toverlay\n" in known or modules.is_dir()


def _file_system(path: Path) -> str:
    """Type of the file system that holds ``path``: that of the longest mount point above it."""
    real = path.resolve()
    above = [entry for entry in procfs.mounts() if real.is_relative_to(entry.target)]
    return max(above, key=lambda entry: len(entry.target)).kind if above else "unknown"


def _null_is_null() -> bool:
    about = Path("/dev/null").stat()
    return about.st_rdev == 0x103 and about.st_uid == 0 and about.st_mode & 0o666 == 0o666
