"""Every kind of guest has the same verbs and flags, and means the same by them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.test_life import eventually, inspect, state
from live import Live
from needs import require

KINDS = ("container", "microvm", "vm")
MACHINES = KINDS[1:]


@dataclass(frozen=True)
class Tour:
    """A running guest of one kind, with many flags."""

    live: Live
    kind: str
    name: str

    def exec(self, *words: str, flags: tuple[str, ...] = (), code: int = 0) -> str:
        """What a command in it says."""
        return self.live.wirt("exec", *flags, self.name, *words, code=code).stdout


@pytest.fixture(scope="module", params=KINDS)
def tour(
    request: pytest.FixtureRequest,
    shared_instance: Live,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Tour]:
    kind = str(request.param)
    if kind != "container":
        require("qemu", "guest-kernel")
    variables = tmp_path_factory.mktemp("tour") / "env"
    variables.write_text("# a comment\nCOLOR=red\nTWO=two words\n")
    shared_instance.wirt(
        "run", "-d", "--as", kind, "--name", f"k-{kind}", "--hostname", "hosty",
        "-e", "A=b", "--env-file", str(variables), "-w", "/work/dir", "-u", "1000:1001",
        "--label", "tier=front", "--tmpfs", "/scratch:size=1m,mode=1777", "--init",
        "--ulimit", "nofile=77:88", "--sysctl", "net.core.somaxconn=99", "--shm-size", "3m",
        "--add-host", "elsewhere:192.0.2.4", "--dns", "192.0.2.53",
        "--security-opt", "no-new-privileges", "--cap-drop", "ALL", "--cap-add", "CHOWN",
        "--entrypoint", "sh", "--stop-signal", "USR1",
        "busybox", "-c", "trap 'exit 5' USR1; echo $A $COLOR $TWO; pwd; id;"
        "while :; do sleep 0.1; done",
    )  # fmt: skip
    yield Tour(shared_instance, kind, f"k-{kind}")
    shared_instance.wirt("rm", "-f", f"k-{kind}")


def test_the_process_is_what_was_asked_for(tour: Tour) -> None:
    expected = "b red two words\n/work/dir\nuid=1000 gid=1001\n"
    eventually(lambda: tour.live.wirt("logs", tour.name).stdout == expected)
    assert tour.exec("hostname") == "hosty\n"
    assert tour.exec("sh", "-c", "ulimit -Sn; ulimit -Hn") == "77\n88\n"
    assert tour.exec("cat", "/proc/sys/net/core/somaxconn") == "99\n"
    status = tour.exec("grep", "-E", "NoNewPrivs|CapBnd", "/proc/self/status").split()
    assert status == ["CapBnd:", "0000000000000001", "NoNewPrivs:", "1"]
    assert "192.0.2.4\telsewhere" in tour.exec("cat", "/etc/hosts")


def test_its_places_in_memory_have_their_sizes(tour: Tour) -> None:
    sizes = tour.exec("df", "-k", "/dev/shm", "/scratch").splitlines()[1:]
    assert [line.split()[1] for line in sizes] == ["3072", "1024"]
    assert tour.exec("stat", "-c", "%a", "/scratch") == "1777\n"


def test_an_exec_has_its_own_user_environment_and_directory(tour: Tour) -> None:
    told = tour.exec(
        "sh", "-c", "echo $FOO $A; pwd; id", flags=("-e", "FOO=bar", "-w", "/etc", "-u", "nobody")
    )
    assert told == "bar b\n/etc\nuid=65534(nobody) gid=65534(nogroup)\n"
    assert tour.exec("id", "-u", flags=("-u", "0")) == "0\n"
    assert tour.exec("id", "-g", flags=("-u", "5:6")) == "6\n"


@pytest.mark.parametrize(
    ("flags", "words", "code"),
    [
        ((), ("sh", "-c", "exit 9"), 9),
        ((), ("nosuch",), 127),
        ((), ("/etc/passwd",), 126),
        ((), ("sh", "-c", "kill -9 $$"), 137),
        (("-w", "/nosuch"), ("pwd",), 127),
        (("-u", "nosuch"), ("true",), 126),
    ],
)
def test_an_exec_ends_with_its_true_code(
    tour: Tour, flags: tuple[str, ...], words: tuple[str, ...], code: int
) -> None:
    tour.exec(*words, flags=flags, code=code)
    tour.exec("ls", "/nosuch", code=1)


def test_exec_takes_input_and_keeps_streams_apart(tour: Tour) -> None:
    data = os.urandom(3_000_000)
    assert tour.live.pipe("exec", "-i", tour.name, "cat", feed=data) == data
    both = tour.live.wirt("exec", tour.name, "sh", "-c", "echo out; echo err >&2")
    assert (both.stdout, both.stderr) == ("out\n", "err\n")


def test_it_can_be_looked_at(tour: Tour) -> None:
    live = tour.live
    rows = live.wirt("top", tour.name).stdout
    assert rows.split()[:3] == ["UID", "PID", "PPID"]
    assert "sleep 0.1" in rows or "trap" in rows
    shown = inspect(live, tour.name)
    spec = shown["spec"]
    assert isinstance(spec, dict)
    assert spec["labels"] == {"tier": "front"}
    assert spec["isolation"] == tour.kind
    assert live.wirt("ps", "-q", "--no-trunc", "--filter", "label=tier=front",
                     "--filter", f"name={tour.name}").stdout == f"{shown['id']}\n"  # fmt: skip
    line = live.wirt("stats", "--no-stream", "--format", "json", tour.name).stdout
    told = json.loads(line)
    usage = {name: told[name] for name in ("CPUPerc", "MemUsage", "NetIO", "BlockIO", "PIDs")}
    if tour.kind == "container":  # it has no limit
        usage["MemUsage"] = usage["MemUsage"].removesuffix(" / --")
    assert "--" not in str(usage)


def test_pause_stops_all_of_it(tour: Tour) -> None:
    live = tour.live
    live.wirt("pause", tour.name)
    try:
        assert state(live, tour.name) == "paused"
        assert "paused" in live.wirt("pause", tour.name, code=4).stderr
        assert "paused" in live.wirt("exec", tour.name, "true", code=125).stderr
    finally:
        live.wirt("unpause", tour.name)
    assert "not paused" in live.wirt("unpause", tour.name, code=4).stderr
    assert tour.exec("echo", "awake") == "awake\n"


def test_its_name_can_change_while_it_runs(tour: Tour) -> None:
    live = tour.live
    live.wirt("rename", tour.name, "other")
    try:
        assert "has that name" in live.wirt("rename", "other", "other", code=2).stderr
        assert live.wirt("exec", "other", "echo", "hi").stdout == "hi\n"
    finally:
        live.wirt("rename", "other", tour.name)


def test_limits_can_change_while_it_runs(tour: Tour) -> None:
    live = tour.live
    live.wirt("update", "--cpus", "0.5", tour.name)
    live.wirt("update", "--restart", "on-failure:1", tour.name)
    live.wirt("update", "--restart", "no", tour.name)
    found = live.ask("GET", f"/v1/guests/{tour.name}")[1]["spec"]
    assert found["resources"]["cpu_millis"] == 500
    assert found["restart"]["name"] == "no"
    if tour.kind == "microvm":
        refused = live.wirt("update", "-m", "300m", tour.name, code=7)
        assert "this running microvm can have at most 256MiB of memory" in refused.stderr
        assert "stop it, update it" in refused.stderr
        live.wirt("update", "-m", "200m", tour.name)
        told = live.wirt("update", "-m", "0", tour.name).stderr
        assert "a microvm is its size" in told
        assert "256MiB again" in told
    else:
        live.wirt("update", "-m", "300m", tour.name)
    if tour.kind == "vm":
        live.wirt("update", "-m", "701m", "--cpus", "1", tour.name)
        assert int(tour.exec("grep", "MemTotal", "/proc/meminfo").split()[1]) > 600 << 10
        found = live.ask("GET", f"/v1/guests/{tour.name}")[1]["spec"]
        assert found["resources"]["memory"] == 701 << 20
        live.wirt("update", "-m", "0", tour.name)
        assert int(tour.exec("grep", "MemTotal", "/proc/meminfo").split()[1]) < 512 << 10
    live.wirt("update", "--cpus", "0", "-m", "0", tour.name)
    found = live.ask("GET", f"/v1/guests/{tour.name}")[1]["spec"]["resources"]
    assert (found["cpu_millis"], found["memory"]) == (None, None)
    live.wirt("update", "--cpus", "1000", tour.name, code=2)
    live.wirt("update", "--cpus", "1", "nosuch", code=3)


def test_it_stops_by_its_own_signal_starts_again_and_is_killed(tour: Tour) -> None:
    live = tour.live
    live.wirt("stop", tour.name)
    assert live.wirt("wait", tour.name).stdout == "5\n"
    before = live.wirt("logs", tour.name).stdout
    for verb, code in (("kill", 4), ("pause", 4), ("top", 4), ("exec", 125)):
        words = (verb, tour.name, *(["true"] if verb == "exec" else []))
        refused = live.wirt(*words, code=code).stderr
        assert "is not running" in refused
        assert f"'wirt start {tour.name}'" in refused
    live.wirt("attach", tour.name, code=4)
    live.wirt("start", tour.name)
    live.wirt("start", tour.name)
    eventually(lambda: live.wirt("logs", tour.name).stdout == before * 2)
    assert "is running" in live.wirt("rm", tour.name, code=4).stderr
    live.wirt("kill", tour.name)
    waited = live.wirt("wait", tour.name)
    assert (waited.stdout, waited.stderr) == ("137\n", "")
    live.wirt("restart", tour.name)
    if tour.kind == "container":
        live.wirt("restart", "-t", "3", tour.name)
    assert state(live, tour.name) == "running"


@pytest.mark.parametrize("kind", KINDS)
def test_run_passes_streams_and_code_and_removes(shared_instance: Live, kind: str) -> None:
    live = shared_instance
    done = live.wirt(
        "run", "--rm", "-i", "--as", kind, "--name", "gone", "--read-only", "busybox", "sh", "-c",
        "touch /x; cat; echo err >&2; exit 7", code=7, feed="in",
    )  # fmt: skip
    assert done.stdout == "in"
    assert done.stderr == "touch: /x: Read-only file system\nerr\n"
    live.wirt("inspect", "gone", code=3)


@pytest.mark.parametrize("kind", KINDS)
def test_run_of_what_cannot_run(shared_instance: Live, kind: str) -> None:
    live = shared_instance
    done = live.wirt("run", "--rm", "--as", kind, "--name", "gone", "busybox", "nosuch", code=127)
    assert "nosuch" in done.stderr
    assert "not found" in done.stderr
    live.wirt("inspect", "gone", code=3)


def test_the_id_is_written_to_a_new_file_only(shared_instance: Live, tmp_path: Path) -> None:
    live, place = shared_instance, tmp_path / "cid"
    guest = live.wirt(
        "create", "--label", "once", "--cidfile", str(place), "busybox"
    ).stdout.strip()
    try:
        assert place.read_text() == guest
        again = live.wirt("create", "--label", "once", "--cidfile", str(place), "busybox", code=125)
        assert str(place) in again.stderr
        assert len(live.wirt("ps", "-aq", "--filter", "label=once").stdout.splitlines()) == 1
    finally:
        live.wirt("rm", guest)


def test_a_container_limits_what_it_is_told(shared_instance: Live, tmp_path: Path) -> None:
    live = shared_instance
    group = live.wirt(
        "run", "--rm", "-m", "64m", "--cpus", "0.5", "--pids-limit", "20", "--userns", "private",
        "busybox", "sh", "-c", "cat /proc/self/uid_map; for i in $(seq 30); do sleep 3 & done",
        code=None,
    )  # fmt: skip
    assert group.stdout.split()[1] != "0"
    assert "fork" in group.stderr
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    }))  # fmt: skip
    words = ("busybox", "mkdir", "/new")
    live.wirt("run", "--rm", "--security-opt", f"seccomp={profile}", *words, code=1)
    live.wirt("run", "--rm", *words)
    told = live.wirt("run", "--rm", "--security-opt", "seccomp=unconfined", "busybox", "grep",
                     "Seccomp:", "/proc/self/status").stdout  # fmt: skip
    assert told.split() == ["Seccomp:", "0"]


def test_a_memory_hog_is_ended_and_it_is_said(shared_instance: Live) -> None:
    live = shared_instance
    live.wirt(
        "run", "--name", "hog", "-m", "16m", "busybox", "sh", "-c",
        "exec tail /dev/zero", code=137,
    )  # fmt: skip
    try:
        status = inspect(live, "hog")["status"]
        assert isinstance(status, dict)
        assert status["oom_killed"] is True
    finally:
        live.wirt("rm", "hog")
