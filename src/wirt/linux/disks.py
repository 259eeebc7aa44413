"""Which disks a directory's files are on, as the kernel limits them: whole ones; and which of them
it shares by weight."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from wirt.linux.cgroup import Cgroups, Mode, read_file

SYS = Path("/sys")


def under(places: Iterable[Path], *, sys: Path = SYS) -> tuple[str, ...]:
    """``major:minor`` of the whole disks under these paths, in order, each once.

    A path that is not there, or is on no disk (tmpfs, a network), adds nothing. A partition is
    told by its disk, since limits hold for nothing less (blk-cgroup, ``blkg_conf_prep``).
    """
    found = set()
    for place in places:
        try:
            device = place.stat().st_dev
        except OSError:
            continue
        disk = whole(f"{os.major(device)}:{os.minor(device)}", sys=sys)
        if disk:
            found.add(disk)
    return tuple(sorted(found))


def whole(device: str, *, sys: Path = SYS) -> str:
    """The disk of a device, or empty when it is none."""
    about = sys / "dev" / "block" / device
    try:
        if (about / "partition").exists():
            about = about.resolve().parent
        return (about / "dev").read_text().strip()
    except OSError:
        return ""


def weighed(disk: str, cgroups: Cgroups, *, sys: Path = SYS) -> bool:
    """Whether the kernel shares a whole disk by ``io.weight`` of version 2 of control groups:
    io.cost is on for it (cgroup-v2, ``io.cost.qos``), BFQ is its scheduler, or all the disks that
    it is made of are shared so (LVM, dm-crypt)."""
    if cgroups.mode is not Mode.V2 or cgroups.directory("io", "/") is None:
        return False
    assert cgroups.v2 is not None
    for line in read_file(cgroups.v2 / "io.cost.qos").splitlines():
        if line.split()[:2] == [disk, "enable=1"]:
            return True
    about = sys / "dev" / "block" / disk
    if "[bfq]" in read_file(about / "queue" / "scheduler"):
        return True
    try:
        parts = [(one / "dev").read_text().strip() for one in (about / "slaves").iterdir()]
    except OSError:
        return False
    below = {whole(one, sys=sys) for one in parts}
    return bool(below) and all(weighed(one, cgroups, sys=sys) for one in below)
