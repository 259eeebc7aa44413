"""`make up` and `make down`: any part may be killed, and the next `up` puts it right."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

import instance as local
from live import Live


def eventually(holds: object, *, seconds: float = 60.0) -> None:
    """Poll until ``holds()`` is true."""
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def running_pid(live: Live, name: str) -> int:
    """The pid of a running guest's first process on the host."""
    status, guests = live.ask("GET", "/v1/guests")
    assert status == 200
    pid: int = next(g["pid"] for g in guests if g["name"] == name)
    assert pid > 0
    return pid


def test_up_is_idempotent(instance: Live) -> None:
    before = {role: instance.pid(role) for role in (local.SUPERVISOR, local.DAEMON, local.HELPER)}
    local.up(instance.instance)
    assert before == {role: instance.pid(role) for role in before}


def others(instance: Live) -> list[tuple[int, str]]:
    """Pids and roles of the instance's processes."""
    return list(local.processes(instance.instance).items())


@pytest.mark.parametrize("role", [local.DAEMON, local.HELPER])
def test_what_is_killed_comes_back_and_guests_run_on(instance: Live, role: str) -> None:
    instance.wirt("run", "-d", "--name", "calm", "busybox", "sleep", "600")
    pid, killed = running_pid(instance, "calm"), instance.pid(role)
    instance.kill(role)
    eventually(lambda: [p for p, r in others(instance) if r == role and p != killed])
    eventually(lambda: local.answers(instance.instance))
    assert running_pid(instance, "calm") == pid
    assert instance.wirt("exec", "calm", "echo", "still here").stdout == "still here\n"
    assert instance.wirt("run", "--rm", "busybox", "echo", "new").stdout == "new\n"
    instance.wirt("rm", "-f", "calm")


def test_up_repairs_an_instance_whose_loop_was_killed(instance: Live) -> None:
    instance.wirt("run", "-d", "--name", "calm", "busybox", "sleep", "600")
    pid = running_pid(instance, "calm")
    instance.kill(local.SUPERVISOR)
    instance.kill(local.DAEMON)
    eventually(lambda: not local.answers(instance.instance))
    local.up(instance.instance)
    assert running_pid(instance, "calm") == pid
    instance.wirt("rm", "-f", "calm")


def test_down_stops_guests_and_keeps_what_is_on_disk(instance: Live) -> None:
    instance.wirt("run", "-d", "--name", "calm", "busybox", "sleep", "600")
    pid = running_pid(instance, "calm")
    local.down(instance.instance)
    assert not Path(f"/proc/{pid}").exists()
    assert not instance.instance.run.exists()
    assert local.processes(instance.instance) == {}
    local.up(instance.instance)
    assert "busybox" in instance.wirt("images").stdout
    row = instance.wirt("ps", "-a").stdout
    assert "calm" in row
    assert "Exited" in row


def test_a_part_that_has_just_ended_has_no_state() -> None:
    """Of a zombie the kernel tells no command line: `down` beside it ended in a traceback."""
    argv = ["/bin/sh", "-c", "read x", "sh", "--state", "/nowhere"]
    inlet, outlet = os.pipe()
    pid = os.posix_spawn(argv[0], argv, {}, file_actions=[(os.POSIX_SPAWN_DUP2, inlet, 0)])
    try:
        eventually(lambda: local.state_of(pid) == Path("/nowhere"))
    finally:
        os.close(inlet)
        os.close(outlet)
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: local.state_of(pid) is None)
    os.waitpid(pid, 0)
    assert local.state_of(pid) is None, "nor of one that is gone"
