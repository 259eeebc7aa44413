"""Which disk a directory is on, in a /sys of our own."""

from __future__ import annotations

import os
from pathlib import Path

from wirt.linux import disks


def _device(path: Path) -> str:
    number = path.stat().st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def _sys(folder: Path, device: str, *, partition: bool) -> Path:
    """A disk 8:0, and the device of this very directory as it or its partition."""
    disk = folder / "sys/devices/sda"
    disk.mkdir(parents=True)
    (disk / "dev").write_text("8:0\n")
    links = folder / "sys/dev/block"
    links.mkdir(parents=True)
    if partition:
        part = disk / "sda1"
        part.mkdir()
        (part / "partition").write_text("1\n")
        (part / "dev").write_text(f"{device}\n")
        (links / device).symlink_to(part)
    else:
        (links / device).symlink_to(disk)
    return folder / "sys"


def test_a_partition_is_told_by_its_disk(tmp_path: Path) -> None:
    sys = _sys(tmp_path, _device(tmp_path), partition=True)
    assert disks.under([tmp_path, tmp_path / "sys", tmp_path / "nosuch"], sys=sys) == ("8:0",)


def test_a_whole_disk_is_itself(tmp_path: Path) -> None:
    sys = _sys(tmp_path, _device(tmp_path), partition=False)
    assert disks.under([tmp_path], sys=sys) == ("8:0",)


def test_what_is_on_no_disk_adds_nothing(tmp_path: Path) -> None:
    assert disks.under([Path("/proc"), tmp_path / "nosuch"]) == ()
