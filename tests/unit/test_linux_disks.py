"""Which disk a directory is on, in a /sys of our own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wirt.linux import disks
from wirt.linux.cgroup import Cgroups


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


def _modern(folder: Path, qos: str = "") -> Cgroups:
    """A host with version 2 that shares disks as ``io.cost.qos`` says."""
    top = folder / "cgroup"
    top.mkdir()
    if qos:
        (top / "io.cost.qos").write_text(qos)
    return Cgroups(v1={}, v2=top, v2_controllers=frozenset({"io"}))


def _queue(sys: Path, disk: str, scheduler: str) -> Path:
    """A whole disk with a scheduler."""
    about = sys / "dev/block" / disk
    (about / "queue").mkdir(parents=True)
    (about / "queue/scheduler").write_text(f"{scheduler}\n")
    (about / "dev").write_text(f"{disk}\n")
    return about


COST = "8:0 enable=1 ctrl=user rpct=0.00 rlat=250000\n8:16 enable=0 ctrl=auto\n"


@pytest.mark.parametrize(
    ("scheduler", "qos", "expected"),
    [
        ("none", COST, {"8:0": True, "8:16": False}),
        ("none [mq-deadline] bfq", "", {"8:0": False, "8:16": False}),
        ("none mq-deadline [bfq]", "", {"8:0": True, "8:16": True}),
    ],
)
def test_disks_are_weighed_by_io_cost_or_bfq(
    tmp_path: Path, scheduler: str, qos: str, expected: dict[str, bool]
) -> None:
    cgroups, sys = _modern(tmp_path, qos), tmp_path / "sys"
    for disk in expected:
        _queue(sys, disk, scheduler)
    assert {disk: disks.weighed(disk, cgroups, sys=sys) for disk in expected} == expected
    without = Cgroups(v1={"blkio": tmp_path}, v2=cgroups.v2)
    assert not any(disks.weighed(disk, without, sys=sys) for disk in expected)


def test_a_disk_made_of_others_is_weighed_if_all_of_them_are(tmp_path: Path) -> None:
    cgroups, sys = _modern(tmp_path), tmp_path / "sys"
    first, second = _queue(sys, "8:0", "[bfq]"), _queue(sys, "8:16", "[none] bfq")
    made = _queue(sys, "253:0", "none")
    (made / "slaves").mkdir()
    (made / "slaves/sda").symlink_to(first)
    assert disks.weighed("253:0", cgroups, sys=sys)
    (made / "slaves/sdb").symlink_to(second)
    assert not disks.weighed("253:0", cgroups, sys=sys)
