"""wirt-join makes the very process that ``crun exec`` makes, with crun itself as the judge."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keeping import Client, demux
from live import Live
from needs import needs
from wirt.crun.spec.process import capability_sets
from wirt.engine import _joining
from wirt.engine._container_handle import exec_process
from wirt.errors import WirtError
from wirt.guest.keeper import KeeperLink, Request
from wirt.model.guest import ExecSpec
from wirt.privileged.protocol import ResolvedUser

pytestmark = needs("root", "crun", "keeper", "netns", "overlay", "busybox")

LOOK = r"""
grep -E '^(Umask|Uid|Gid|Groups|THP|Sig[PBIC]|Shd|Cap|NoNew|Seccomp|Spec)' /proc/self/status
cat /proc/self/status | grep -E '^(TracerPid|NSpgid|NSsid|Core|Untag|Thr|x86)'
for kind in cgroup user pid mnt net ipc uts time; do readlink /proc/self/ns/$kind; done
cat /proc/self/cgroup /proc/self/limits /proc/self/oom_score_adj /proc/self/mountinfo
cut -d' ' -f5-8 /proc/$$/stat
tr '\0' '\n' </proc/$$/environ
tr '\0' ' ' </proc/$$/cmdline | cut -c1-6
ls /proc/$$/fd
for fd in 1 2; do stat -Lc '%u %g %a %F' /proc/$$/fd/$fd; done
umask; pwd; id; trap
touch /tmp/x && stat -c '%u %g %a' /tmp/x; rm -f /tmp/x
kill -0 1; echo $?
"""

OTHER = ResolvedUser(uid=1000, gid=1001, groups=(5, 20), home="/srv/other")


@contextmanager
def guest(live: Live, *flags: str) -> Iterator[tuple[Path, int]]:
    """A guest that sleeps: its run directory, and the pid of its main process."""
    made = live.wirt("run", "-d", *flags, "busybox", "sleep", "86400").stdout.strip()
    try:
        status = live.ask("GET", f"/v1/guests/{made}")[1]["status"]
        yield live.instance.run / "g" / made, status["pid"]
    finally:
        live.wirt("rm", "-f", made)


def main_of(run: Path) -> dict[str, Any]:
    process: dict[str, Any] = json.loads((run / "config.json").read_bytes())["process"]
    return process


def answer(run: Path, process: dict[str, Any], *, joined: bool) -> tuple[str, str, str]:
    """Output, errors and exit code of the process. ``joined``: by wirt-join, else by crun."""
    asked = {"id": ["a"], "mux": ["1"], "process": [json.dumps(process)]}
    plain = _joining.record(process)
    assert plain, "the daemon would not let it join"

    async def ask() -> tuple[str, str, str]:
        over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def event(record: dict[str, list[str]]) -> None:
            if record["event"] == ["exit"] and not over.done():
                over.set_result(record["code"][0])

        link = await KeeperLink.connect(run / "keeper.sock", on_event=event, on_closed=lambda: None)
        client = Client.make()
        try:
            record = asked | (plain if joined else {})
            await link.request(Request.EXEC, record, descriptor=client.theirs.fileno())
            client.theirs.close()
            out, err = demux(await client.rest())
            return out.decode(), err.decode(), await asyncio.wait_for(over, 20)
        finally:
            client.close()
            await link.close()

    return asyncio.run(ask())


FLAGS = {
    "plain": (),
    "rights": ("--cap-drop", "ALL", "--cap-add", "NET_RAW", "--cap-add", "CHOWN"),
    "none": ("--cap-drop", "ALL"),
    "bare": ("--security-opt", "no-new-privileges"),
    "unfiltered": ("--security-opt", "seccomp=unconfined", "--network", "host"),
    "user": ("--user", "7:8", "-e", "A=b c", "-w", "/tmp", "--ulimit", "nofile=99:100"),
    "limits": ("-m", "64m", "--pids-limit", "9", "--cpus", "0.5", "--read-only"),
}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
@pytest.mark.parametrize("user", [None, OTHER], ids=["same-user", "other-user"])
def test_a_joined_process_is_the_one_that_crun_makes(
    shared_instance: Live, flags: tuple[str, ...], user: ResolvedUser | None
) -> None:
    with guest(shared_instance, *flags) as (run, _):
        spec = ExecSpec(command=("sh", "-c", "exec 2>&1; " + "; ".join(_one_at_a_time())))
        made = exec_process(main_of(run), spec, user=user, every=frozenset(), explicit_home=False)
        ours, theirs = (answer(run, made, joined=joined) for joined in (True, False))
        assert ours[0].splitlines() == theirs[0].splitlines()
        assert ours[1:] == theirs[1:] == ("", "0")
        assert ours[0].count("\n") > 60


def _one_at_a_time() -> list[str]:
    return [line for line in LOOK.replace("\\\n", " ").splitlines() if line]


def test_privileged_and_limited_ones_too(shared_instance: Live) -> None:
    with guest(shared_instance) as (run, _):
        made = main_of(run) | {
            "args": ["sh", "-c", "grep -E 'Cap|Seccomp|NoNew' /proc/self/status; ulimit -n"],
            "capabilities": capability_sets(frozenset({"SYS_ADMIN", "CHOWN", "BPF"})),
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}],
        }
        ours = answer(run, made, joined=True)
        assert ours == answer(run, made, joined=False)
        assert ours[0].endswith("\n77\n")


@pytest.mark.parametrize("command", ["nosuch", "/nosuch", "/etc", "/proc/version", "/tmp/script"])
def test_what_cannot_run_is_told_in_the_words_of_crun(shared_instance: Live, command: str) -> None:
    with guest(shared_instance) as (run, _):
        script = "echo '#!/nosuch/interpreter' >/tmp/script; chmod 755 /tmp/script"
        prepare = main_of(run) | {"args": ["sh", "-c", script]}
        answer(run, prepare, joined=True)
        process = main_of(run) | {"args": [command]}
        ours, theirs = (_outcome(run, process, joined=joined) for joined in (True, False))
        assert ours == theirs
        assert ours[-1] not in {"0", 0}


def _outcome(run: Path, process: dict[str, Any], *, joined: bool) -> tuple[object, ...]:
    """What :func:`answer` gives, or what the keeper says instead."""
    try:
        return answer(run, process, joined=joined)
    except WirtError as error:
        return type(error), error.message, error.facts.get("exit", 0)


def test_it_is_really_wirt_join_that_did_it(shared_instance: Live) -> None:
    """Without the engine to fall back to, everything still works; in the groups of the guest."""
    with guest(shared_instance, "--pids-limit", "2") as (run, pid):
        conf = (run / "keeper.conf").read_bytes()
        assert b"join_group=" in conf
        process = main_of(run)
        host = Path(f"/proc/{pid}/cgroup").read_text()
        made = process | {"args": ["sh", "-c", "echo $$; read go"]}
        found = _while_it_runs(run, made, pid)
        assert found == host
        # what is no record for the engine cannot have been run by it
        assert answer_only_joined(run, process | {"args": ["echo", "hi"]}) == "hi\n"


def _while_it_runs(run: Path, process: dict[str, Any], main: int) -> str:
    """The groups of a further process as the host sees them."""

    async def story() -> str:
        link = await KeeperLink.connect(
            run / "keeper.sock", on_event=lambda _: None, on_closed=lambda: None
        )
        client = Client.make()
        record = {"id": ["b"], "mux": ["1"], "stdin": ["1"], "process": [json.dumps(process)]}
        try:
            told = await link.request(
                Request.EXEC, record | _joining.record(process),
                descriptor=client.theirs.fileno(),
            )  # fmt: skip
            client.theirs.close()
            pid = told["pid"][0]
            assert pid != str(main)
            groups = await asyncio.to_thread(Path(f"/proc/{pid}/cgroup").read_text)
            await client.send(b"\n")
            await client.rest()
            return groups
        finally:
            client.close()
            await link.close()

    return asyncio.run(story())


def answer_only_joined(run: Path, process: dict[str, Any]) -> str:
    """As :func:`answer` with words that crun would refuse."""

    async def story() -> str:
        link = await KeeperLink.connect(
            run / "keeper.sock", on_event=lambda _: None, on_closed=lambda: None
        )
        client = Client.make()
        record = {"id": ["c"], "mux": ["1"], "process": ["no JSON"]} | _joining.record(process)
        try:
            await link.request(Request.EXEC, record, descriptor=client.theirs.fileno())
            client.theirs.close()
            return demux(await client.rest())[0].decode()
        finally:
            client.close()
            await link.close()

    return asyncio.run(story())


def test_the_program_cannot_be_written_to_from_inside(shared_instance: Live) -> None:
    """CVE-2019-5736: /proc/self/exe of what enters a container is a way to the host's file."""
    with guest(shared_instance) as (run, _):
        name = dict(
            pair.split("=", 1) for pair in (run / "keeper.conf").read_text().split("\0") if pair
        )["join"]
        before = Path(name).read_bytes()
        catch = (
            "i=0; while [ $i -lt 300 ]; do i=$((i+1)); for p in /proc/[0-9]*; do"
            " case $(readlink $p/exe 2>/dev/null) in *wirt-join*) echo seen;"
            " (: >>$p/exe) 2>/dev/null && echo WRITABLE;; esac; done; done"
        )
        shared_instance.wirt("exec", "-d", run.name, "sh", "-c", f"{catch} >/tmp/caught 2>&1")
        for _ in range(20):
            shared_instance.wirt("exec", run.name, "/proc/self/exe", code=None)
            shared_instance.wirt("exec", run.name, "true")
        caught = shared_instance.wirt("exec", run.name, "cat", "/tmp/caught").stdout
        assert not re.search("WRITABLE", caught)
        assert Path(name).read_bytes() == before
