"""Containers on a host with version 2 of control groups alone, with the real kernel's files.

The hosts that tests run on may have any version; this one is a machine of our own. What is read
here is what the kernel says, not what wirt believes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hostbox import NAME, NEEDS, Hostbox, booted
from live import ROOT
from needs import needs, require

pytestmark = [needs(*NEEDS), pytest.mark.timeout(300)]
MIB = 2**20
PYTHON = ".venv/bin/python"
LOOP = ("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.2; done")


@pytest.fixture(scope="module")
def box(session_tag: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostbox]:
    """The host inside, booted once."""
    require(*NEEDS)
    with booted(f"wt{session_tag}b", tmp_path_factory.mktemp("modules")) as inside:
        yield inside


@contextmanager
def limited(box: Hostbox, name: str) -> Iterator[str]:
    """A running container with limits; its id. Nothing of its group is left afterwards."""
    limits = ["-m", "32m", "--cpus", "0.5", "--pids-limit", "20", "--cpu-shares", "512"]
    guest_id = box.wirt("run", "-d", "--name", name, *limits, "busybox", *LOOP).stdout.strip()
    try:
        yield guest_id
    finally:
        box.wirt("rm", "-f", name)
    assert guest_id not in box.groups(), "a released guest leaves no control group"


@pytest.fixture(scope="module")
def calm(box: Hostbox) -> Iterator[str]:
    """The id of a running container named ``calm``, which tests only look at."""
    with limited(box, "calm") as guest_id:
        yield guest_id


@pytest.fixture
def guest(box: Hostbox) -> Iterator[str]:
    """The id of a running container named ``g`` of one test alone."""
    with limited(box, "g") as guest_id:
        yield guest_id


def test_the_host_has_version_two_and_doctor_says_so(box: Hostbox) -> None:
    kinds = box.sh("awk '/cgroup/ { print $3 }' /proc/mounts").stdout.split()
    assert set(kinds) == {"cgroup2"}
    report = json.loads(box.wirt("doctor", "--json", code=None).stdout)
    found = {finding["name"]: finding for finding in report["findings"]}
    assert report["kinds"]["container"] == "works"
    assert found["cgroups"]["message"] == "control groups version 2"
    assert found["helper"]["status"] == "ok"


def test_streams_and_exit_codes(box: Hostbox) -> None:
    before = box.groups()
    done = box.wirt("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert box.wirt("run", "--rm", "-i", "busybox", "wc", "-c", feed="x" * 9000).stdout == "9000\n"
    box.wirt("run", "--rm", "busybox", "nosuchcommand", code=127)
    box.wirt("run", "--rm", "busybox", "/etc/passwd", code=126)
    assert box.groups() == before


def test_a_published_port_leads_through_bridge_and_rules(box: Hostbox) -> None:
    url = "http://127.0.0.1:8080/index.html"
    serve = "echo served > /tmp/index.html; exec httpd -f -p 80 -h /tmp"
    box.wirt("run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sh", "-c", serve)
    try:
        fetch = f"{PYTHON} -c \"import urllib.request as r; print(r.urlopen('{url}').read())\""
        tries = f"for try in $(seq 20); do {fetch} && exit; sleep 1; done; exit 1"
        assert box.sh(tries).stdout == "b'served\\n'\n"
    finally:
        box.wirt("rm", "-f", "web")


def test_limits_stand_in_the_kernels_files(box: Hostbox, calm: str) -> None:
    wanted = {
        "memory.max": str(32 * MIB), "memory.swap.max": str(32 * MIB), "cpu.max": "50000 100000",
        "pids.max": "20", "cpu.weight": "50",
    }  # fmt: skip
    assert {name: box.group(calm, name) for name in wanted} == wanted


def test_crun_sees_the_version_two_tree_uncovered(box: Hostbox, calm: str) -> None:
    keepers = box.sh(f"cat /sys/fs/cgroup/{NAME}/keepers/cgroup.procs").stdout.split()
    assert keepers
    mounts = box.sh(f"grep ' /sys/fs/cgroup' /proc/{keepers[0]}/mountinfo").stdout.splitlines()
    assert [line.partition(" - ")[2].split()[0] for line in mounts] == ["cgroup2"]
    assert box.wirt("exec", "calm", "cat", "/proc/self/cgroup").stdout == "0::/\n"
    refused = box.wirt("exec", "calm", "sh", "-c", "echo max > /sys/fs/cgroup/pids.max", code=1)
    assert "Read-only" in refused.stderr
    assert box.group(calm, "pids.max") == "20"


def test_updated_limits_reach_the_kernel(box: Hostbox, guest: str) -> None:
    box.wirt("update", "-m", "64m", "--cpus", "0.25", "--pids-limit", "30", "g")
    wanted = {
        "memory.max": str(64 * MIB), "memory.swap.max": str(64 * MIB), "cpu.max": "25000 100000",
        "pids.max": "30",
    }  # fmt: skip
    assert {name: box.group(guest, name) for name in wanted} == wanted
    box.wirt("update", "--memory-swap", "100m", "g")
    assert box.group(guest, "memory.swap.max") == str(36 * MIB), "swap is what is above memory"
    box.wirt("update", "-m", "0", "--cpus", "0", "--pids-limit", "0", "g")
    assert {name: box.group(guest, name) for name in wanted} == {
        **dict.fromkeys(wanted, "max"), "cpu.max": "max 100000",
    }  # fmt: skip
    box.wirt("update", "--cpuset-cpus", "1", "g")
    assert box.group(guest, "cpuset.cpus.effective") == "1"
    box.wirt("update", "--cpuset-cpus", "7", "g", code=2)


def test_every_figure_is_known(box: Hostbox, calm: str) -> None:
    line = json.loads(box.wirt("stats", "--no-stream", "--format", "json", "calm").stdout)
    figures = ("CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs", "CPUSplit", "Pressure")
    assert [name for name in figures if "--" in line[name]] == []
    assert line["MemUsage"].endswith("/ 32MiB")
    assert int(line["PIDs"]) >= 1
    assert int(box.group(calm, "memory.peak")) > 0


def test_pausing_freezes_the_group_and_what_is_paused_can_be_removed(
    box: Hostbox, guest: str
) -> None:
    box.wirt("pause", "g")
    assert "frozen 1" in box.group(guest, "cgroup.events")
    box.wirt("exec", "g", "true", code=125)
    box.wirt("unpause", "g")
    assert "frozen 0" in box.group(guest, "cgroup.events")
    assert box.wirt("exec", "g", "echo", "thawed").stdout == "thawed\n"
    box.wirt("pause", "g")  # the fixture removes it so


def test_a_limit_of_processes_holds_a_fork_bomb_and_kill_ends_it(box: Hostbox) -> None:
    # The first process forks no more, so that a refused fork does not end it.
    bomb = "for i in 1 2 3; do sh -c 'f() { f | f & f; }; f' & done; exec sleep 1000"
    words = ["--pids-limit", "20", "busybox", "sh", "-c", bomb]
    guest_id = box.wirt("run", "-d", "--name", "bomb", *words).stdout.strip()
    try:
        hit = f"grep -q '^max [1-9]' /sys/fs/cgroup/{NAME}/{guest_id}/pids.events"
        box.sh(f"for try in $(seq 60); do {hit} && exit; sleep 0.5; done; exit 1")
        assert int(box.group(guest_id, "pids.current")) <= 20
        box.wirt("kill", "bomb")
        assert box.wirt("wait", "bomb").stdout == "137\n"
        assert box.status("bomb")["oom_killed"] is False
        assert guest_id not in box.groups()
    finally:
        box.wirt("rm", "-f", "bomb")


def test_a_memory_limit_is_enforced_and_told(box: Hostbox) -> None:
    box.wirt("run", "--name", "hog", "-m", "16m", "busybox", "tail", "/dev/zero", code=137)
    try:
        status = box.status("hog")
        assert (status["exit_code"], status["oom_killed"]) == (137, True)
    finally:
        box.wirt("rm", "-f", "hog")


def test_a_cpu_limit_throttles(box: Hostbox) -> None:
    busy = ["busybox", "sh", "-c", "while :; do :; done"]
    guest_id = box.wirt("run", "-d", "--name", "busy", "--cpus", "0.1", *busy).stdout.strip()
    try:
        hit = f"grep -E '^nr_throttled [1-9]' /sys/fs/cgroup/{NAME}/{guest_id}/cpu.stat"
        box.sh(f"for try in $(seq 60); do {hit} && exit; sleep 0.5; done; exit 1")
    finally:
        box.wirt("rm", "-f", "busy")


def test_a_limit_of_disks_holds_even_what_goes_through_the_cache(box: Hostbox) -> None:
    """6 MiB at 2 MiB a second take two seconds and more; never less, however fast the host is."""
    done = box.wirt("run", "-d", "--name", "io", "--io-limit", "2m", "busybox", *LOOP)
    guest_id = done.stdout.strip()
    try:
        assert "cache" not in done.stderr
        assert f"rbps={2 * MIB} wbps={2 * MIB}" in box.group(guest_id, "io.max")
        line = "time dd if=/dev/zero of=/x bs=1M count=6 conv=fsync"
        told = box.wirt("exec", "io", "sh", "-c", line).stderr.splitlines()
        words = next(row for row in told if row.startswith("real")).split()
        assert 60 * float(words[1].rstrip("m")) + float(words[2].rstrip("s")) >= 2
        box.wirt("update", "--io-limit", "3m", "io")
        assert f"rbps={3 * MIB} wbps={3 * MIB}" in box.group(guest_id, "io.max")
        box.wirt("update", "--io-limit", "0", "io")
        assert box.group(guest_id, "io.max") == ""
    finally:
        box.wirt("rm", "-f", "io")


def test_devices_are_confined(box: Hostbox) -> None:
    script = "mknod /d b 254 0; cat /d; head -c 3 /dev/zero | wc -c"
    done = box.wirt("run", "--rm", "busybox", "sh", "-c", script)
    assert "Operation not permitted" in done.stderr
    assert done.stdout == "3\n"


def test_a_private_user_namespace_has_limits_too(box: Hostbox) -> None:
    show = "cat /proc/self/cgroup; awk '{ print $1, $3 }' /proc/self/uid_map"
    plain = box.wirt("run", "--rm", "--userns", "private", "busybox", "sh", "-c", show)
    assert plain.stdout == "0::/\n0 65536\n"
    hog = ["-m", "16m", "busybox", "tail", "/dev/zero"]
    box.wirt("run", "--rm", "--userns", "private", *hog, code=137)


def test_killed_daemon_and_helper_find_their_guest_again(box: Hostbox, guest: str) -> None:
    box.sh(f"pkill -9 -f 'wirt[.](daemon|privileged) .*--name {NAME} '")
    box.sh("for try in $(seq 120); do bin/wirt ps >/dev/null 2>&1 && exit; sleep 0.5; done; exit 1")
    assert box.wirt("exec", "g", "echo", "alive").stdout == "alive\n"
    box.wirt("stats", "--no-stream", "g")
    assert box.group(guest, "memory.max") == str(32 * MIB)
    box.wirt("stop", "g")
    assert box.status("g")["exit_code"] == 3


def test_a_killed_keeper_takes_its_container_along(box: Hostbox, guest: str) -> None:
    box.sh(f"pkill -9 -f '^{ROOT}/build/native/wirt-keeper .*/g/{guest}$'")
    gone = f"[ ! -e /sys/fs/cgroup/{NAME}/{guest} ]"
    box.sh(f"for try in $(seq 60); do {gone} && exit; sleep 0.5; done; exit 1")
    assert box.status("g")["state"] == "exited"


def test_a_tree_whose_top_holds_processes_offers_only_what_it_hands_on(box: Hostbox) -> None:
    """As in a container without an init system. What doctor makes of it is a unit test."""
    look = """\
from wirt.linux.cgroup import Cgroups
found = Cgroups.detect()
found.create("/nest/guest")
given = (found.v2 / "nest/guest/cgroup.controllers").read_text().split()
print(found.mode.value, sorted(found.controllers), given)
found.remove("/nest")
"""
    inside = f"umount /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; {PYTHON} -"
    done = box.sh(
        "mkdir /sys/fs/cgroup/top\n"
        f"(echo $BASHPID > /sys/fs/cgroup/top/cgroup.procs; exec unshare -C -m sh -c '{inside}')\n"
        "code=$?; cat /sys/fs/cgroup/top/cgroup.controllers; rmdir /sys/fs/cgroup/top; exit $code",
        feed=look,
    )
    seen, offered = done.stdout.splitlines()
    assert seen == "v2 [] []"
    assert "memory" in offered, "the top group itself has controllers, which it cannot hand on"
