"""What a container really gets: crun started on the engine's plan."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crunbox import Box, Ran, box
from needs import needs
from wirt.crun.capability import DEFAULT
from wirt.engine.protocol import ResolvedMount
from wirt.linux.cgroup import Mode
from wirt.linux.features import parse_capabilities
from wirt.model.guest import GuestSpec
from wirt.model.resources import Resources
from wirt.model.volume import MountKind

pytestmark = needs("root", "crun", "mountns", "netns", "overlay", "busybox")


@pytest.fixture(scope="module")
def lab(session_tag: str) -> Iterator[Box]:
    with box(f"wt{session_tag}cb") as made:
        yield made


def spec(**wish: Any) -> GuestSpec:
    return GuestSpec(image="busybox", **wish)


def status(ran: Ran) -> dict[str, str]:
    return dict(re.findall(r"(?m)^(\w+):\s*(.*)$", ran.out))


def test_capabilities(lab: Box) -> None:
    inside = status(lab.run("cat", "/proc/self/status"))
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert parse_capabilities(inside[name]) == DEFAULT & lab.facts.bounding
    assert int(inside["CapInh"], 16) == int(inside["CapAmb"], 16) == 0
    assert inside["NoNewPrivs"] == "0"


def test_all_capabilities_that_the_host_has_can_be_given_and_all_taken(lab: Box) -> None:
    wish = spec(cap_add=("ALL",), security_opt=("no-new-privileges",))
    inside = status(lab.run("cat", "/proc/self/status", spec=wish))
    assert parse_capabilities(inside["CapEff"]) == lab.facts.bounding
    assert inside["NoNewPrivs"] == "1"
    bare = status(lab.run("cat", "/proc/self/status", spec=spec(cap_drop=("ALL",))))
    assert int(bare["CapEff"], 16) == int(bare["CapBnd"], 16) == 0


def test_kernel_files_are_masked_or_read_only(lab: Box) -> None:
    script = """
        cat /proc/kcore | wc -c; cat /proc/keys | wc -c; ls /proc/acpi /sys/firmware | grep -v :
        for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/profiling; do
            echo x 2>/dev/null > $f && echo wrote $f
        done
        mkdir /sys/fs/cgroup/memory/x 2>/dev/null && echo made a group
        mount -o remount,rw /proc/sys 2>/dev/null && echo remounted
        true
    """
    ran = lab.run("sh", "-c", script)
    assert ran.code == 0
    assert ran.lines == ["0", "0", ""]


def test_devices(lab: Box) -> None:
    script = """
        ls -1 /dev; stat -c %F /dev/null; head -c 3 /dev/zero | wc -c
        mknod /disk b 254 0 && echo made; cat /disk; mknod /mem c 1 1; cat /mem
    """
    ran = lab.run("sh", "-c", script)
    assert set(ran.lines[:-3]) == {
        "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    }  # fmt: skip
    assert ran.lines[-3:] == ["character special file", "3", "made"]
    assert ran.err.count("Operation not permitted") == 2


def test_no_descriptor_of_the_host_is_left_open(lab: Box) -> None:
    # 3 is the directory that ls itself reads.
    assert lab.run("ls", "/proc/self/fd").lines == ["0", "1", "2", "3"]


def test_limits_on_resources_are_lowered_to_what_the_host_allows(lab: Box) -> None:
    wish = spec(ulimits={"nofile": (100, 2**30), "core": (0, 0)})
    ran = lab.run("sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c", spec=wish)
    may_raise = "SYS_RESOURCE" in lab.facts.bounding
    hard = 2**30 if may_raise else min(2**30, lab.facts.rlimits["nofile"])
    assert ran.lines == ["100", str(hard), "0"]


def test_mounts(lab: Box, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "below").mkdir()
    (tmp_path / "file").write_text("from the host\n")
    mounts = (
        ResolvedMount(kind=MountKind.TMPFS, target="/scratch", size=1 << 20, mode=0o700),
        ResolvedMount(kind=MountKind.TMPFS, target="/run", options=("exec", "size=64k")),
        ResolvedMount(kind=MountKind.BIND, target="/data", source=str(tmp_path)),
        ResolvedMount(
            kind=MountKind.BIND, target="/data/below", source=str(tmp_path), read_only=True
        ),
        ResolvedMount(
            kind=MountKind.BIND, target="/etc/issue", source=str(tmp_path / "file"), is_file=True
        ),
    )
    script = """
        stat -c %a /scratch; grep -E ' /(scratch|run|dev/shm) ' /proc/mounts
        dd if=/dev/zero of=/scratch/x bs=1M count=2 2>&1 | grep -c 'No space'
        echo new > /data/made; touch /data/below/x || echo refused; cat /etc/issue /etc/hosts
    """
    ran = lab.run("sh", "-c", script, spec=spec(shm_size=2 << 20), mounts=mounts)
    assert ran.lines[0] == "700"
    options = {line.split()[1]: set(line.split()[3].split(",")) for line in ran.lines[1:4]}
    assert {"nosuid", "nodev", "noexec", "size=1024k"} <= options["/scratch"]
    assert {"nosuid", "nodev", "size=64k"} <= options["/run"]
    assert "noexec" not in options["/run"]
    assert "size=2048k" in options["/dev/shm"]
    assert ran.lines[4:] == ["1", "refused", "from the host", "127.0.0.1 localhost"]
    assert (tmp_path / "made").read_text() == "new\n"
    assert not (tmp_path / "x").exists()


def test_read_only_holds_for_mounts_below(lab: Box, tmp_path: Path) -> None:
    """A read-only bind of a tree that has a mount in it, made in this test's own namespace."""
    mounts = (ResolvedMount(kind=MountKind.BIND, target="/devices", source="/dev", read_only=True),)
    ran = lab.run("sh", "-c", "touch /devices/shm/x || echo refused", mounts=mounts)
    assert ran.lines == ["refused"]
    assert not Path("/dev/shm/x").exists()


def test_read_only_root(lab: Box) -> None:
    script = "touch /x; touch /tmp/y; echo >> /etc/hosts; touch /dev/shm/z && echo z"
    ran = lab.run("sh", "-c", script, spec=spec(read_only=True))
    assert ran.lines == ["z"]
    assert ran.err.count("Read-only file system") == 3


def test_own_names_processes_network_and_parameters(lab: Box) -> None:
    wish = spec(hostname="db", sysctls={"net.core.somaxconn": "77", "kernel.shmmax": "65536"})
    script = """
        hostname; echo $$; ls /sys/class/net | grep -vE '^(lo|tunl0|sit0|ip6tnl0|ifb.)$'
        cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax
        cat /proc/sys/net/ipv4/ip_unprivileged_port_start
        sort -u -t: -k3 /proc/self/cgroup | cut -d: -f3
    """
    ran = lab.run("sh", "-c", script, spec=wish)
    assert ran.lines == ["db", "1", "77", "65536", "0", "/"]


def test_the_hosts_network(lab: Box) -> None:
    wish = spec(network_mode="host")
    ran = lab.run("readlink", "/proc/self/ns/net", spec=wish, network="host")
    assert ran.lines == [str(Path("/proc/self/ns/net").readlink())]


@needs("userns")
def test_private_user_namespace(lab: Box) -> None:
    """Root inside is nobody outside, owns its files, network and volumes, no device of ours."""
    volume = lab.layout.volumes / "v" / "_data"
    volume.mkdir(parents=True)
    (volume / "old").touch()
    mounts = (
        ResolvedMount(kind=MountKind.VOLUME, target="/v", source=str(volume), volume="v"),
        ResolvedMount(kind=MountKind.BIND, target="/h", source=str(lab.layout.run.parent)),
    )
    before = Path("/dev/null").stat()
    script = """
        cat /proc/self/uid_map; id -u; stat -c %u /bin /v/old /etc/hosts /h /dev/null
        touch /root/new /v/new && echo wrote; touch /h/new || echo no
        chmod 600 /dev/null /dev/zero; cat /proc/sys/net/ipv4/ip_unprivileged_port_start
        nc -l -p 80 & sleep 0.1; kill $! && echo listened
        ls /sys/class/net | grep -c eth0; mount -t sysfs | cut -d' ' -f3
    """
    wish = spec(userns="private", cap_add=("NET_ADMIN",))
    ran = lab.run("sh", "-c", script, spec=wish, mounts=mounts)
    first = int(ran.lines[0].split()[1])
    assert ran.lines[0].split() == ["0", str(first), "65536"]
    assert first >= 2**26
    assert ran.lines[1:] == [
        "0", "0", "0", "0", "65534", "0", "wrote", "no", "0", "listened", "0", "/sys",
    ], ran.err  # fmt: skip
    assert (volume / "new").stat().st_uid == 0
    after = Path("/dev/null").stat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


def test_limits_in_the_control_group(lab: Box) -> None:
    wish = spec(
        resources=Resources(
            cpu_millis=500, cpu_shares=512, cpuset="0", memory=32 << 20, pids=30,
            memory_reservation=16 << 20,
        )
    )  # fmt: skip
    if lab.facts.cgroup is Mode.V2:
        files = ["cpu.max", "cpuset.cpus", "memory.max", "memory.low", "pids.max"]
        paths = [f"/sys/fs/cgroup/{name}" for name in files]
        expected = ["50000 100000", "0", str(32 << 20), str(16 << 20), "30"]
    else:
        names = {
            "cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000",
            "cpu/cpu.shares": "512", "cpuset/cpuset.cpus": "0",
            "memory/memory.limit_in_bytes": str(32 << 20),
            "memory/memory.soft_limit_in_bytes": str(16 << 20), "pids/pids.max": "30",
        }  # fmt: skip
        if lab.facts.swap_limit:
            names["memory/memory.memsw.limit_in_bytes"] = str(64 << 20)
        paths = [f"/sys/fs/cgroup/{name}" for name in names]
        expected = list(names.values())
    assert lab.run("cat", *paths, spec=wish).lines == expected


def test_a_memory_hog_dies_alone(lab: Box) -> None:
    limits = Resources(memory=16 << 20, memory_swap=16 << 20)
    hog = "dd if=/dev/zero of=/dev/null bs=64M count=1; echo $?"
    ran = lab.run("sh", "-c", hog, spec=spec(resources=limits))
    assert ran.lines == ["137"]


def test_a_fork_bomb_is_held(lab: Box, probe: Path) -> None:
    limits = Resources(pids=20)
    mounts = (ResolvedMount(kind=MountKind.BIND, target="/probe", source=str(probe)),)
    ran = lab.run("/probe", "forks", spec=spec(resources=limits), mounts=mounts)
    count, _, why = ran.out.strip().partition(" ")
    assert int(count) == 19
    assert why == "Resource temporarily unavailable"


@pytest.fixture(scope="module")
def probe(lab: Box) -> Path:
    """The static program of ``probe.c``."""
    import subprocess

    path = lab.layout.state / "probe"
    source = Path(__file__).parent / "probe.c"
    subprocess.run(["gcc", "-static", "-O1", "-w", "-o", path, source], check=True)
    return path


class TestInit:
    pytestmark = needs("init")

    def test_reaps_orphans(self, lab: Box, probe: Path) -> None:
        mounts = (ResolvedMount(kind=MountKind.BIND, target="/probe", source=str(probe)),)
        bare = lab.run("sh", "-c", "/probe orphans 5; true", mounts=mounts)
        ran = lab.run("/probe", "orphans", "5", spec=spec(init=True), mounts=mounts)
        assert ran.lines == ["0 zombies"]
        assert bare.lines == ["0 zombies"]  # busybox' shell reaps as well

    def test_ends_as_its_program(self, lab: Box) -> None:
        for script, code in (("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)):
            assert lab.run("sh", "-c", script, spec=spec(init=True)).code == code

    def test_says_what_cannot_be_run(self, lab: Box) -> None:
        missing = lab.run("no-such-program", spec=spec(init=True))
        assert (missing.code, missing.out) == (127, "")
        assert "no-such-program: No such file or directory" in missing.err
        assert lab.run("/etc", spec=spec(init=True)).code == 126

    def test_passes_signals_on(self, lab: Box) -> None:
        """The shell is not process 1, and gets what is sent to process 1."""
        script = "trap 'echo got; exit 3' TERM; (sleep 0.2; kill -TERM 1) & echo $$; sleep 5 & wait"
        ran = lab.run("sh", "-c", script, spec=spec(init=True))
        assert ran.lines == ["2", "got"]
        assert ran.code == 3

    def test_a_file_of_the_image_in_its_place_is_covered(self, lab: Box) -> None:
        ran = lab.run("sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '", spec=spec(init=True))
        assert ran.out.startswith("/sbin/wirt-init -- sh -c")


def test_the_configuration_is_what_crun_read(lab: Box) -> None:
    """A wish of every kind at once starts, so the golden configuration is valid for crun."""
    wish = spec(
        hostname="all", read_only=True, cap_add=("NET_ADMIN",), cap_drop=("MKNOD",),
        security_opt=("no-new-privileges",), ulimits={"nproc": (50, 60)}, shm_size=1 << 20,
        sysctls={"net.ipv4.ip_forward": "1"}, annotations={"com.example.team": "db"},
        resources=Resources(memory=64 << 20, memory_swap=-1, pids=-1),
    )  # fmt: skip
    start = lab.start("true", spec=wish)
    plan = lab.engine.plan(start)
    assert plan.launch.container is not None
    config = json.loads(plan.launch.container.config)
    ran = lab.run_config(start.guest.id, config, plan)
    assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize("number", range(14))
def test_a_link_to_a_descriptor_is_no_working_directory(lab: Box, number: int) -> None:
    """The image's WORKDIR is a link into crun's own /proc/self/fd (CVE-2024-21626)."""
    link = lab.root / f"fd{number}"
    link.symlink_to(f"/proc/self/fd/{number}")
    ran = lab.run("sh", "-c", "echo got in; ls ../../../../../..", cwd=f"/fd{number}")
    assert (ran.code, ran.out) == (1, "")
    assert "chdir" in ran.err


@pytest.mark.parametrize("link", ["/tmp", "../../../../../../../../tmp"])
def test_links_at_mount_targets_stay_inside(lab: Box, link: str) -> None:
    """A target below a link that leads to a directory of the host is made inside the root."""
    (lab.root / "out").unlink(missing_ok=True)
    (lab.root / "out").symlink_to(link)
    name = lab.layout.name + "x"
    mount = ResolvedMount(kind=MountKind.TMPFS, target=f"/out/{name}")
    ran = lab.run("sh", "-c", f"touch /out/{name}/x; ls -A /tmp/{name}", mounts=(mount,))
    assert (ran.code, ran.lines) == (0, ["x"])
    assert not Path("/tmp", name).exists()


def test_a_link_out_of_the_root_is_no_mount_target(lab: Box, tmp_path: Path) -> None:
    (lab.root / "away").symlink_to(tmp_path)
    mount = ResolvedMount(kind=MountKind.TMPFS, target="/away/in")
    assert lab.run("true", mounts=(mount,)).code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("userns", ["", "private"])
def test_control_groups_of_version_two(lab: Box, userns: str) -> None:
    """The same configuration where only a version 2 tree is mounted.

    Limits need controllers, which a hybrid host gives to version 1, and the device filter needs
    rights that not every host has: both are left out here.
    """
    script = """
        sed -n 's/^0:://p' /proc/self/cgroup
        grep ' /sys/fs/cgroup ' /proc/self/mountinfo | cut -d' ' -f4,9
        mkdir /sys/fs/cgroup/x || cat /sys/fs/cgroup/cgroup.procs | head -n1
    """
    start = lab.start("sh", "-c", script, spec=spec(userns=userns))
    plan = lab.engine.plan(start)
    assert plan.launch.container is not None
    config = json.loads(plan.launch.container.config)
    del config["linux"]["resources"]
    lab.version_two = True
    try:
        ran = lab.run_config(start.guest.id, config, plan)
    finally:
        lab.version_two = lab.facts.cgroup is Mode.V2
    assert ran.lines == ["/", "/ cgroup2", "1"], ran.err
