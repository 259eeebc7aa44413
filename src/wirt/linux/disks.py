"""Which disks a directory's files are on, as the kernel limits them: whole ones."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

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
