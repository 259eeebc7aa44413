"""Limits are written as a whole or not at all, those of disks too."""

from __future__ import annotations

from pathlib import Path

import pytest

from wirt.errors import Invalid
from wirt.linux import limits
from wirt.linux.cgroup import Cgroups
from wirt.model.resources import Resources

GROUP = "/wirt/abc"


def _v1(tmp: Path) -> Cgroups:
    (tmp / "blkio/wirt/abc").mkdir(parents=True)
    return Cgroups(v1={"blkio": tmp / "blkio"}, v2=None)


def _v2(tmp: Path) -> Cgroups:
    (tmp / "wirt/abc").mkdir(parents=True)
    offered = frozenset({"cpu", "cpuset", "memory", "pids", "io"})
    return Cgroups(v1={}, v2=tmp, v2_controllers=offered)


def test_what_was_written_before_a_refusal_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroups = _v2(tmp_path)
    group = tmp_path / "wirt/abc"
    before = {"cpu.max": "max 100000", "cpuset.cpus": "", "memory.max": "77", "pids.max": "5"}
    for name, text in before.items():
        (group / name).write_text(f"{text}\n")

    def refuse(path: Path, text: str) -> None:
        if path.name == "pids.max":
            raise OSError(22, "Invalid argument", str(path))
        path.write_text(text)

    monkeypatch.setattr(limits, "write_file", refuse)
    with pytest.raises(Invalid, match=r"refuses pids\.max = 9"):
        limits.write(cgroups, GROUP, Resources(cpu_millis=250, cpuset="0", memory=100, pids=9))
    assert {name: (group / name).read_text().strip() for name in before} == before


def test_disks_are_limited_in_both_versions_and_set_free_again(tmp_path: Path) -> None:
    v1, v2 = _v1(tmp_path / "1"), _v2(tmp_path / "2")
    blkio, io = tmp_path / "1/blkio/wirt/abc", tmp_path / "2/wirt/abc"
    rates = ("blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device")
    for file in (*(blkio / name for name in rates), io / "io.max"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for rate, one, two in (
        (5, "8:0 5", "8:0 rbps=5 wbps=5"),
        (0, "8:0 0", "8:0 rbps=max wbps=max"),
    ):
        for cgroups in (v1, v2):
            limits.write(cgroups, GROUP, Resources(io_limit=rate), disks=["8:0"])
        assert {(blkio / name).read_text()[: len(one)] for name in rates} == {one}
        assert (io / "io.max").read_text().startswith(two)


def test_a_disks_limit_before_a_refusal_is_taken_back_for_that_disk_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroups, written = _v2(tmp_path), list[str]()
    (tmp_path / "wirt/abc/io.max").write_text("7:0 rbps=1 wbps=max riops=max wiops=max\n")

    def refuse(_: Path, text: str) -> None:
        written.append(text)
        if text.startswith("9:9"):
            raise OSError(19, "No such device")

    monkeypatch.setattr(limits, "write_file", refuse)
    with pytest.raises(Invalid, match=r"refuses io\.max = 9:9"):
        limits.write(cgroups, GROUP, Resources(io_limit=5), disks=["7:0", "8:0", "9:9"])
    assert written[3:] == ["8:0 rbps=max wbps=max", "7:0 rbps=1 wbps=max riops=max wiops=max"]


def test_limits_of_version_two(tmp_path: Path) -> None:
    cgroups = _v2(tmp_path)
    group = tmp_path / "wirt/abc"
    names = ("cpu.max", "cpu.weight", "memory.max", "memory.low", "memory.swap.max", "pids.max")
    for name in names:
        (group / name).touch()
    wish = Resources(
        cpu_millis=250, cpu_shares=1024, memory=100, memory_swap=150, memory_reservation=50, pids=9
    )
    limits.write(cgroups, GROUP, wish)
    written = {name: (group / name).read_text() for name in names}
    assert written == {
        "cpu.max": "25000 100000", "cpu.weight": "100", "memory.max": "100", "memory.low": "50",
        "memory.swap.max": "50", "pids.max": "9",
    }  # fmt: skip


NOTHING = Resources(cpu_millis=0, cpu_shares=0, memory=0, memory_reservation=0, pids=0, io_limit=0)


def test_nought_is_what_the_kernel_has_of_itself(tmp_path: Path) -> None:
    v2 = {
        "cpu.max": "max 100000", "cpu.weight": "100", "memory.max": "max", "memory.low": "0",
        "memory.swap.max": "max", "pids.max": "max",
    }  # fmt: skip
    cgroups = _v2(tmp_path)
    group = tmp_path / "wirt/abc"
    for name in v2:
        (group / name).write_text("5\n")
    limits.write(cgroups, GROUP, NOTHING)
    assert {name: (group / name).read_text().strip() for name in v2} == v2


def test_with_version_one_the_limit_of_both_goes_before_that_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("cpu", "memory", "pids")
    cgroups, written = Cgroups(v1={name: tmp_path / name for name in names}, v2=None), list[str]()
    for name in names:
        (tmp_path / name / "wirt/abc").mkdir(parents=True)
    (tmp_path / "memory/wirt/abc/memory.limit_in_bytes").write_text("5\n")
    monkeypatch.setattr(
        limits, "write_file", lambda file, text: written.append(f"{file.name} {text}")
    )
    limits.write(cgroups, GROUP, NOTHING)
    assert written == [
        "cpu.cfs_period_us 100000", "cpu.cfs_quota_us -1", "cpu.shares 1024",
        "memory.soft_limit_in_bytes -1", "memory.memsw.limit_in_bytes -1",
        "memory.limit_in_bytes -1", "pids.max max",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shares", "weight"),
    [
        (0, 1), (2, 1), (512, 50), (1024, 100), (2048, 200), (102_400, 10_000), (262_144, 10_000),
    ],
)  # fmt: skip
def test_shares_become_weights_in_the_same_proportions(shares: int, weight: int) -> None:
    """1024 shares are what a guest has that asked for none."""
    assert limits.weight(shares) == weight
