"""Containers on a host with version 1 of control groups alone: no version 2 tree to hide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import instance as local
from live import ROOT, Live, running
from needs import require
from wirt.linux.cgroup import Cgroups, Mode

MIB = 2**20


@pytest.fixture(scope="module")
def legacy(session_tag: str) -> Iterator[tuple[Live, Cgroups]]:
    """An instance that does not see the version 2 tree of a hybrid host."""
    require("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper")
    cgroups = Cgroups.detect()
    if cgroups.mode not in {Mode.HYBRID, Mode.V1}:
        pytest.skip(f"this host has control groups of kind {cgroups.mode.value}")
    hide = "true" if cgroups.v2 is None else f"umount {cgroups.v2}"
    with running(f"wt{session_tag}l", prepare=hide) as live:
        yield live, cgroups


def test_doctor_says_version_one(legacy: tuple[Live, Cgroups]) -> None:
    live, _ = legacy
    mounts = Path(f"/proc/{live.pid(local.HELPER)}/mounts").read_text()
    assert " cgroup2 " not in mounts
    # On that host: the client looks at the mounts that it sees itself.
    client = ("env", f"WIRT_HOST=unix://{live.socket}", str(ROOT / "bin/wirt"))
    report = json.loads(live.inside(*client, "doctor", "--json").stdout)
    found = {finding["name"]: finding["message"] for finding in report["findings"]}
    assert found["cgroups"].partition(";")[0] == "control groups version 1"


def test_limits_oom_pause_and_release(legacy: tuple[Live, Cgroups]) -> None:
    live, cgroups = legacy
    limits = ["-m", "32m", "--cpus", "0.5", "--pids-limit", "20"]
    guest = live.wirt("run", "-d", *limits, "busybox", "sleep", "1000").stdout.strip()
    path = f"/{live.instance.name}/{guest}"

    def file(controller: str, name: str) -> str:
        directory = cgroups.directory(controller, path)
        assert directory is not None
        return (directory / name).read_text().strip()

    assert file("memory", "memory.limit_in_bytes") == str(32 * MIB)
    assert file("cpu", "cpu.cfs_quota_us") == "50000"
    assert file("pids", "pids.max") == "20"
    live.wirt("update", "-m", "64m", guest)
    assert file("memory", "memory.limit_in_bytes") == str(64 * MIB)
    live.wirt("pause", guest)
    assert file("freezer", "freezer.state") == "FROZEN"
    live.wirt("rm", "-f", guest)
    assert not [group for group in cgroups.directories(path) if group.exists()]


def test_a_memory_limit_is_enforced_and_told(legacy: tuple[Live, Cgroups]) -> None:
    live, _ = legacy
    live.wirt("run", "--name", "hog", "-m", "16m", "busybox", "tail", "/dev/zero", code=137)
    status = json.loads(live.wirt("inspect", "hog").stdout)[0]["status"]
    assert (status["exit_code"], status["oom_killed"]) == (137, True)
    live.wirt("rm", "hog")
