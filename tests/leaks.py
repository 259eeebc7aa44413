"""What a test may have left on the host, and waiting until it is gone.

Only things that carry this session's tag, lie in its temporary directory or descend from this
process count: other test sessions on the same machine are not our business.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_GRACE = 30.0
_HIERARCHIES = Path("/sys/fs/cgroup")
_TOPS = (Path("/run"), Path("/var/tmp"))


def become_subreaper() -> None:
    """Orphans of this process become its children, so that they are seen and reaped."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def look(*, tag: str, base: str) -> frozenset[str]:
    """Everything of ours that exists now, one readable line each."""
    name = f"wt{tag}"
    ours = re.compile(rf"\b{name}[0-9a-f]*")
    found: set[str] = set(_children())
    found.update(f"mount {m}" for m in _mounts() if base in m or ours.search(m))
    found.update(f"cgroup {g}" for g in _cgroups() if ours.match(g.name))
    found.update(f"file {p}" for top in _TOPS for p in top.glob(f"{name}*"))
    found.update(f"network namespace {p}" for p in Path("/run/netns").glob(f"{name}*"))
    found.update(f"link {p.name}" for p in Path("/sys/class/net").glob(f"{name}*"))
    found.update(f"nft {t}" for t in _nft_tables() if ours.search(t))
    found.update(f"swap {device}" for device, label in _swaps() if label.startswith(name))
    return frozenset(found)


def settle(before: frozenset[str], *, tag: str, base: str) -> list[str]:
    """Reap orphans and wait until nothing more than ``before`` is there; what stays for good."""
    deadline = time.monotonic() + _GRACE
    while True:
        _reap_orphans()
        left = sorted(look(tag=tag, base=base) - before)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _children() -> list[str]:
    """Our live child processes, adopted orphans included. Zombies that Popen owns do not count."""
    lines = []
    for pid in _child_pids():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if stat.rpartition(")")[2].split()[0] != "Z":
            lines.append(f"process {pid} {argv.strip() or stat.partition('(')[2]}")
    return lines


def _child_pids() -> list[int]:
    me = os.getpid()
    pids: list[int] = []
    for task in Path(f"/proc/{me}/task").iterdir():
        try:
            pids.extend(int(pid) for pid in (task / "children").read_text().split())
        except OSError:
            pids.extend(_children_by_parent(me))
            break
    return pids


def _children_by_parent(me: int) -> list[int]:
    """For kernels without /proc/PID/task/TID/children."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == me:
            found.append(int(entry.name))
    return found


def _reap_orphans() -> None:
    """Reap zombies that no Popen waits for: they were orphans before we adopted them."""
    owned = {p.pid for p in getattr(subprocess, "_active", [])}
    for pid in _child_pids():
        if pid in owned:
            continue
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue


def _mounts() -> list[str]:
    return [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _cgroups() -> list[Path]:
    """First-level groups of every hierarchy: an instance has one of its name in each."""
    roots = [_HIERARCHIES, *(_HIERARCHIES.iterdir() if _HIERARCHIES.is_dir() else ())]
    return [group for root in roots if root.is_dir() for group in root.iterdir() if group.is_dir()]


def _nft_tables() -> list[str]:
    if os.geteuid() != 0:
        return []
    try:
        done = subprocess.run(
            ["/usr/sbin/nft", "list", "tables"], capture_output=True, text=True, check=False
        )
    except OSError:
        return []
    return done.stdout.splitlines()


def _swaps() -> list[tuple[str, str]]:
    """Devices of compressed memory, and the label in the header for swap of each."""
    found = []
    for device in Path("/dev").glob("zram*"):
        try:
            with device.open("rb") as file:
                page = file.read(4096)
        except OSError:
            continue
        found.append((str(device), page[1052:1068].rstrip(b"\0").decode("ascii", "replace")))
    return found
