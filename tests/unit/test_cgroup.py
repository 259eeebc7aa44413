"""Control groups of every version, played by plain directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from wirt.errors import Conflict, Invalid, NotFound, Unsupported, WirtError
from wirt.linux import cgroup, limits, usage
from wirt.linux.cgroup import Cgroups, Mode
from wirt.model.resources import Resources

GROUP = "/wirt/abc"
MIB = 1024 * 1024


def _proc(tmp: Path, *lines: str) -> Path:
    (tmp / "proc/self").mkdir(parents=True)
    text = "".join(f"{30 + n} 1 0:{n} / {line}\n" for n, line in enumerate(lines))
    (tmp / "proc/self/mountinfo").write_text(text)
    return tmp / "proc"


def _v1(tmp: Path) -> Cgroups:
    names = ("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "freezer")
    for name in names:
        (tmp / name / "wirt/abc").mkdir(parents=True)
    return Cgroups(v1={name: tmp / name for name in names}, v2=None)


def _v2(tmp: Path) -> Cgroups:
    (tmp / "wirt/abc").mkdir(parents=True)
    offered = frozenset({"cpu", "cpuset", "memory", "pids", "io"})
    return Cgroups(v1={}, v2=tmp, v2_controllers=offered)


def _files(directory: Path, **contents: str) -> None:
    for name, text in contents.items():
        (directory / name.replace("__", ".")).write_text(text)


# --- finding out ------------------------------------------------------------------------------


def test_hybrid_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified/cgroup.controllers").write_text("hugetlb\n")
    proc = _proc(
        tmp_path,
        "/sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        "/sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
        f"{tmp_path}/unified rw - cgroup2 cgroup2 rw,nsdelegate",
        "/ rw - ext4 /dev/cpu rw",
    )
    found = Cgroups.detect(proc=proc)
    assert found.mode is Mode.HYBRID
    assert found.v1["cpu"] == found.v1["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert found.controllers == {"cpu", "cpuacct"}
    assert list(found.directories(GROUP)) == [
        Path("/sys/fs/cgroup/cpu,cpuacct/wirt/abc"),
        Path("/sys/fs/cgroup/systemd/wirt/abc"),
        tmp_path / "unified/wirt/abc",
    ]
    assert found.directory("memory", GROUP) is None


def test_version_two_and_none_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    proc = _proc(tmp_path, f"{tmp_path} rw shared:4 - cgroup2 cgroup2 rw")
    found = Cgroups.detect(proc=proc)
    assert found.mode is Mode.V2
    assert found.controllers == {"cpu", "memory", "pids"}
    assert found.directory("memory", GROUP) == tmp_path / "wirt/abc"
    assert found.directory("io", GROUP) is None
    assert Cgroups.detect(proc=tmp_path / "nowhere").mode is Mode.NONE


def test_a_named_hierarchy_beside_version_two_changes_nothing(tmp_path: Path) -> None:
    """What is mounted for containers whose systemd knows no version 2; others have no controllers
    that limit guests."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    proc = _proc(
        tmp_path,
        "/sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
        "/run/vpn rw - cgroup cgroup rw,net_cls",
        f"{tmp_path} rw shared:4 - cgroup2 cgroup2 rw",
    )
    found = Cgroups.detect(proc=proc)
    assert found.mode is Mode.V2
    assert found.controllers == {"cpu", "memory", "pids"}
    assert list(found.directories(GROUP)) == [tmp_path / "wirt/abc"]


def test_a_container_has_the_controllers_that_its_top_group_can_hand_on(tmp_path: Path) -> None:
    _files(tmp_path, cgroup__controllers="cpu memory pids\n", cgroup__subtree_control="pids\n")
    proc = _proc(tmp_path, f"{tmp_path} rw shared:4 - cgroup2 cgroup2 rw")
    _files(tmp_path, cgroup__procs="1\n")
    assert Cgroups.detect(proc=proc).controllers == {"cpu", "memory", "pids"}, "the true root"
    _files(tmp_path, cgroup__type="domain\n")
    assert Cgroups.detect(proc=proc).controllers == {"pids"}
    _files(tmp_path, cgroup__procs="")
    assert Cgroups.detect(proc=proc).controllers == {"cpu", "memory", "pids"}


# --- version 1 --------------------------------------------------------------------------------


def test_usage_of_version_one(tmp_path: Path) -> None:
    cgroups = _v1(tmp_path)
    _files(tmp_path / "cpuacct/wirt/abc", cpuacct__usage="1234\n", cpuacct__usage_user="1000\n")
    _files(tmp_path / "cpu/wirt/abc", cpu__stat="nr_periods 3\nthrottled_time 77\n")
    _files(
        tmp_path / "memory/wirt/abc",
        memory__usage_in_bytes="4096\n",
        memory__limit_in_bytes="9223372036854771712\n",
        memory__stat="cache 1\ntotal_cache 2048\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    )
    _files(
        tmp_path / "blkio/wirt/abc",
        blkio__throttle__io_service_bytes="8:0 Read 10\n8:0 Write 20\n8:16 Read 5\nTotal 35\n",
    )
    read = usage.read(cgroups, GROUP)
    assert (read.cpu_ns, read.cpu_user_ns, read.cpu_system_ns) == (1234, 1000, None)
    assert read.cpu_throttled_ns == 77
    assert (read.memory, read.memory_cache, read.memory_limit) == (4096, 2048, None)
    assert (read.block_read, read.block_written, read.pids) == (15, 20, None)
    assert cgroups.oom_kills(GROUP) == 2


@pytest.mark.parametrize(
    ("reads", "writes", "rate"),
    [
        ("", "", 0),
        ("8:0 5\n", "8:0 5\n", 5),
        ("8:0 5\n8:16 5\n", "8:0 5\n8:16 5\n", 5),
        ("8:0 5\n8:16 6\n", "8:0 5\n8:16 6\n", None),
        ("8:0 5\n", "", None),
    ],
)
def test_the_limit_of_disks_is_read_back(
    tmp_path: Path, reads: str, writes: str, rate: int | None
) -> None:
    cgroups = _v1(tmp_path)
    _files(
        tmp_path / "blkio/wirt/abc",
        blkio__throttle__read_bps_device=reads,
        blkio__throttle__write_bps_device=writes,
    )
    assert limits.io_limit(cgroups, GROUP) == rate


@pytest.mark.parametrize(
    ("now", "order"),
    [
        (64 * MIB, ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]),
        (512 * MIB, ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]),
    ],
)
def test_memory_and_swap_are_written_in_an_order_that_always_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: int, order: list[str]
) -> None:
    cgroups = _v1(tmp_path)
    _files(tmp_path / "memory/wirt/abc", memory__limit_in_bytes=f"{now}\n")
    written: list[str] = []
    monkeypatch.setattr(limits, "write_file", lambda path, _text: written.append(path.name))
    wish = Resources(memory=128 * MIB, memory_swap=256 * MIB)
    limits.write(cgroups, GROUP, wish)
    assert written == order


def test_memory_above_the_swap_limit_in_force_is_explained(tmp_path: Path) -> None:
    cgroups = _v1(tmp_path)
    _files(tmp_path / "memory/wirt/abc", memory__memsw__limit_in_bytes=f"{64 * MIB}\n")
    with pytest.raises(Conflict, match="memory and swap"):
        limits.write(cgroups, GROUP, Resources(memory=128 * MIB))


def test_a_kernel_without_swap_accounting_is_no_error(tmp_path: Path) -> None:
    cgroups = _v1(tmp_path)
    memory = tmp_path / "memory/wirt/abc"
    _files(memory, memory__limit_in_bytes="0\n")
    limits.write(cgroups, GROUP, Resources(memory=128 * MIB, memory_swap=-1))
    assert (memory / "memory.limit_in_bytes").read_text().startswith(str(128 * MIB))
    assert not (memory / "memory.memsw.limit_in_bytes").exists()


def test_cpu_and_pids_of_version_one(tmp_path: Path) -> None:
    cgroups = _v1(tmp_path)
    cpu, pids = tmp_path / "cpu/wirt/abc", tmp_path / "pids/wirt/abc"
    _files(cpu, cpu__cfs_period_us="", cpu__cfs_quota_us="", cpu__shares="")
    _files(pids, pids__max="")
    limits.write(cgroups, GROUP, Resources(cpu_millis=1500, cpu_shares=512, pids=-1))
    assert (cpu / "cpu.cfs_quota_us").read_text() == "150000"
    assert (cpu / "cpu.shares").read_text() == "512"
    assert (pids / "pids.max").read_text() == "max"


def test_missing_groups_and_controllers_are_named(tmp_path: Path) -> None:
    cgroups = _v1(tmp_path)
    with pytest.raises(NotFound, match="/wirt/other"):
        limits.write(cgroups, "/wirt/other", Resources(pids=5))
    without = Cgroups(v1={"cpu": tmp_path / "cpu"}, v2=None)
    with pytest.raises(Unsupported, match="pids"):
        limits.write(without, GROUP, Resources(pids=5))


# --- version 2 --------------------------------------------------------------------------------


def test_usage_of_version_two(tmp_path: Path) -> None:
    cgroups = _v2(tmp_path)
    _files(
        tmp_path / "wirt/abc",
        cpu__stat="usage_usec 5\nuser_usec 3\nsystem_usec 2\nthrottled_usec 1\n",
        memory__current="100\n",
        memory__max="max\n",
        memory__peak="200\n",
        memory__stat="anon 1\nfile 50\n",
        memory__events="low 0\noom 1\noom_kill 1\n",
        pids__current="4\n",
        io__stat="8:0 rbytes=1 wbytes=2 rios=1\n8:16 rbytes=10 wbytes=20\n",
    )
    read = usage.read(cgroups, GROUP)
    assert (read.cpu_ns, read.cpu_throttled_ns) == (5000, 1000)
    assert (read.memory, read.memory_limit, read.memory_peak) == (100, None, 200)
    assert (read.memory_cache, read.pids) == (50, 4)
    assert (read.block_read, read.block_written) == (11, 22)
    assert cgroups.oom_kills(GROUP) == 1


def test_usage_of_a_group_that_is_gone_is_unknown_not_zero(tmp_path: Path) -> None:
    for cgroups in (_v2(tmp_path / "2"), _v1(tmp_path / "1")):
        read = usage.read(cgroups, "/wirt/gone")
        assert read.cpu_ns is read.memory is read.pids is read.block_read is None


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("", 0),
        ("8:0 rbps=5 wbps=5 riops=max wiops=7\n", 5),
        ("8:0 rbps=max wbps=max riops=9 wiops=max\n", 0),
        ("8:0 rbps=5 wbps=max riops=max wiops=max\n", None),
    ],
)
def test_the_limit_of_disks_of_version_two_is_read_back(
    tmp_path: Path, text: str, rate: int | None
) -> None:
    cgroups = _v2(tmp_path)
    _files(tmp_path / "wirt/abc", io__max=text)
    assert limits.io_limit(cgroups, GROUP) == rate


def test_a_group_of_version_two_without_traffic_has_read_nothing(tmp_path: Path) -> None:
    cgroups = _v2(tmp_path)
    _files(tmp_path / "wirt/abc", io__stat="")
    read = usage.read(cgroups, GROUP)
    assert (read.block_read, read.block_written) == (0, 0)


@pytest.mark.parametrize(
    ("now", "wish", "swap"),
    [
        ("100\n", Resources(memory_swap=150), "50"),
        ("max\n", Resources(memory_swap=150), "150"),
        ("100\n", Resources(memory=120, memory_swap=150), "30"),
        ("100\n", Resources(memory_swap=100), "0"),
        ("100\n", Resources(memory_swap=-1), "max"),
    ],
)
def test_swap_of_version_two_is_what_is_above_memory(
    tmp_path: Path, now: str, wish: Resources, swap: str
) -> None:
    cgroups = _v2(tmp_path)
    _files(tmp_path / "wirt/abc", memory__max=now, memory__swap__max="")
    limits.write(cgroups, GROUP, wish)
    assert (tmp_path / "wirt/abc/memory.swap.max").read_text() == swap


def test_a_controller_that_was_not_handed_on_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no pids control group"):
        limits.write(_v2(tmp_path), GROUP, Resources(pids=5))


def test_refusals_of_the_kernel_say_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cgroups = _v2(tmp_path)

    def refuse(path: Path, _text: str) -> None:
        raise OSError(22, "Invalid argument", str(path))

    monkeypatch.setattr(limits, "write_file", refuse)
    kinds: list[tuple[Resources, type[WirtError]]] = [
        (Resources(cpuset="99"), Invalid),
        (Resources(memory=1), Conflict),
        (Resources(pids=1), Invalid),
    ]
    for wish, kind in kinds:
        with pytest.raises(kind) as caught:
            limits.write(cgroups, GROUP, wish)
        assert not isinstance(caught.value, OSError)


def test_creating_hands_controllers_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").touch()
    cgroups = Cgroups(v1={}, v2=tmp_path, v2_controllers=frozenset({"cpu", "memory"}))
    cgroups.create(GROUP)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory"
    assert (tmp_path / "wirt/abc").is_dir()
    assert not (tmp_path / "wirt/abc/cgroup.subtree_control").exists()


def test_one_controller_that_is_refused_keeps_none_of_the_others_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enabled: list[str] = []

    def kernel(_path: Path, text: str) -> None:
        if "+cpu" in text.split():
            raise OSError(22, "Invalid argument")
        enabled.extend(text.split())

    monkeypatch.setattr(cgroup, "write_file", kernel)
    controllers = frozenset({"cpu", "memory", "pids"})
    Cgroups(v1={}, v2=tmp_path, v2_controllers=controllers).create("/wirt")
    assert enabled == ["+memory", "+pids"]


def test_removing_and_killing_nothing(tmp_path: Path) -> None:
    cgroups = _v2(tmp_path)
    (tmp_path / "wirt/abc/below").mkdir()
    assert cgroups.children("/wirt") == {"abc"}
    assert cgroups.kill(GROUP)
    cgroups.remove(GROUP)
    cgroups.remove(GROUP)
    assert cgroups.children("/wirt") == frozenset()
    assert cgroups.processes(GROUP) == ()


def test_only_an_empty_group_is_discarded(tmp_path: Path) -> None:
    cgroups = Cgroups(v1={"cpu": tmp_path / "cpu", "pids": tmp_path / "pids"}, v2=None)
    (tmp_path / "cpu/wirt/abc").mkdir(parents=True)
    (tmp_path / "pids/wirt/abc/below").mkdir(parents=True)
    assert not cgroups.discard(GROUP)
    assert [d.exists() for d in cgroups.directories(GROUP)] == [False, True]
    (tmp_path / "pids/wirt/abc/below").rmdir()
    assert cgroups.discard(GROUP)
    assert cgroups.discard(GROUP), "nothing left of it the second time either"
    assert (tmp_path / "pids/wirt").is_dir()


def test_entering_version_2_beside_other_work(tmp_path: Path) -> None:
    cgroups = _v2(tmp_path)
    procs = tmp_path / "wirt/abc/cgroup.procs"
    procs.write_text("")
    joining = cgroups.enter(GROUP)
    assert joining is not None
    joining.wait()
    assert procs.read_text() == "0", "whoever writes 0 moves itself, all threads of it"
    procs.unlink()
    procs.mkdir()
    joining = cgroups.enter(GROUP)
    assert joining is not None
    with pytest.raises(IsADirectoryError):
        joining.wait()


def test_entering_version_1_at_once(tmp_path: Path) -> None:
    cgroups = Cgroups(v1={"cpu": tmp_path / "cpu", "pids": tmp_path / "pids"}, v2=None)
    (tmp_path / "cpu/wirt/abc").mkdir(parents=True)
    (tmp_path / "cpu/wirt/abc/tasks").touch()
    assert cgroups.enter(GROUP) is None
    assert (tmp_path / "cpu/wirt/abc/tasks").read_text() == "0"
    assert not (tmp_path / "pids/wirt/abc").exists()
