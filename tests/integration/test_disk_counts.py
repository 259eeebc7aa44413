"""What groups read is counted from the first byte on, on a disk that never had a limit."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from needs import needs
from wirt.linux import limits, usage
from wirt.linux.cgroup import Cgroups, Mode
from wirt.linux.disks import whole

pytestmark = needs("root", "disk-limits")
SIZE = 4 << 20
LOOP_CTL_ADD, LOOP_CTL_REMOVE = 0x4C80, 0x4C81


@pytest.fixture
def new_disk(tmp_path: Path) -> Iterator[Path]:
    """A loop device that has just been made: those that exist may have been counted before."""
    image = tmp_path / "image"
    image.write_bytes(bytes(SIZE))
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    number = next(n for n in range(64, 256) if not Path(f"/sys/block/loop{n}").exists())
    fcntl.ioctl(control, LOOP_CTL_ADD, number)
    device = Path(f"/dev/loop{number}")
    try:
        subprocess.run(["losetup", device, image], check=True)
        yield device
        subprocess.run(["losetup", "--detach", device], check=True)
    finally:
        fcntl.ioctl(control, LOOP_CTL_REMOVE, number)
        os.close(control)


def test_reads_of_a_disk_without_limits_are_counted(new_disk: Path, session_tag: str) -> None:
    cgroups = Cgroups.detect()
    if cgroups.mode is Mode.V2:
        pytest.skip("version 2 counts always")
    above, group = f"wt{session_tag}d", f"wt{session_tag}d/guest"
    cgroups.create(group)
    try:
        number = (Path("/sys/block") / new_disk.name / "dev").read_text().strip()
        limits.count_disks(cgroups, above, [whole(number), "999:999"])
        directory = cgroups.directory("blkio", group)
        assert directory is not None
        reads = f"dd if={new_disk} of=/dev/null bs=1M iflag=direct"
        joined = f"echo $$ > {directory}/cgroup.procs; exec {reads}"
        subprocess.run(["sh", "-c", joined], check=True, capture_output=True)
        counted = usage.read(cgroups, group).block_read or 0
        assert SIZE <= counted < 2 * SIZE, "programs are read from disks too"
    finally:
        cgroups.remove(group)
        cgroups.remove(above)
