"""The kernel's own triggers: standstill for want of memory is heard while it lasts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest

from needs import needs
from waiting import eventually, until
from wirt.linux import limits, pressure
from wirt.linux.cgroup import Cgroups
from wirt.linux.ear import Ear
from wirt.model.resources import Resources

pytestmark = [needs("root"), pytest.mark.timeout(120)]
MIB = 1 << 20
FILE = Path("/proc/pressure/memory")


def test_pressure_on_the_host_is_heard(session_tag: str, tmp_path: Path) -> None:
    """Readers in a group much smaller than their file stand still again and again."""
    if not FILE.exists():
        pytest.skip("this kernel does not measure pressure")
    cgroups = Cgroups.detect()
    path = f"/wt{session_tag}p"
    big = tmp_path / "big"  # written in the group, so that its cache is the group's
    cgroups.create(path)
    try:
        limits.write(cgroups, path, Resources(memory=8 * MIB))
        group = cgroups.directory("memory", path)
        assert group is not None
        loop = f"while :; do cat {big} > /dev/null; done"
        read = (
            f"echo $$ > {group}/cgroup.procs; head -c 64M /dev/zero > {big}; sync {big}; "
            f"for reader in 1 2 3 4; do {loop} & done; wait"
        )
        with subprocess.Popen(["sh", "-c", read], start_new_session=True) as reader:
            try:
                asyncio.run(_heard())
            finally:
                os.killpg(reader.pid, signal.SIGKILL)
        until(lambda: not (group / "cgroup.procs").read_text(), "nobody is in it any more")
    finally:
        cgroups.remove(path)


async def _heard() -> None:
    heard: list[bool] = []
    ear = Ear(pressure.trigger(FILE), lambda: heard.append(True))
    try:
        await eventually(lambda: bool(heard), "the kernel tells of it")
    finally:
        ear.close()
