"""Kill -9 anything at any step: what runs goes on, what ended has its true code, nothing leaks.

A fault point (``wirt.privileged.faults``) kills the daemon or the helper exactly there; the loop
that keeps them up starts them again. Afterwards the guest is either fully there or fully gone.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.test_life import eventually, inspect, state
from live import Live, faulted
from needs import require
from wirt.linux.cgroup import Cgroups

SOURCES = Path(__file__).resolve().parents[2] / "src" / "wirt"
POINT = re.compile(r'\b(fault|undo\.push)\(\s*"([a-z. -]+)"')

ELSEWHERE = ("registry.", "store.", "image.", "collect.")
"""Steps that no run passes: ``test_registry_crash.py`` and ``test_store_crash.py`` cut those."""


def fault_points() -> list[str]:
    """Every named step in the sources."""
    found = set()
    for path in SOURCES.rglob("*.py"):
        for how, name in POINT.findall(path.read_text("utf-8")):
            if how == "fault" and "." in name and not name.startswith(ELSEWHERE):
                found.add(name)
            elif how == "undo.push" and path.parent.name == "host":
                found.add(f"host.{name}")
    return sorted(found)


def test_there_are_fault_points_everywhere() -> None:
    points = fault_points()
    assert len(points) >= 20
    assert {point.partition(".")[0] for point in points} >= {"host", "launch"}


@pytest.fixture(scope="module")
def faulty(session_tag: str) -> Iterator[tuple[Live, Path]]:
    """An instance whose next fault is ordered by a file."""
    require("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper")
    with faulted(f"wt{session_tag}f") as made:
        yield made


def answers(live: Live) -> bool:
    try:
        return live.ask("GET", "/v1/ping", timeout=10)[0] == 200
    except OSError:
        return False


def clean(live: Live) -> None:
    """Nothing of any guest is left in the instance's places."""
    eventually(lambda: answers(live))
    for guest in live.ask("GET", "/v1/guests?all=1")[1]:
        live.wirt("rm", "-f", guest["id"])
    layout = live.instance
    eventually(lambda: not list((layout.run / "g").iterdir()))
    eventually(lambda: not list((layout.state / "guests").iterdir()))
    eventually(lambda: Cgroups.detect().children(f"/{layout.name}") <= {"keepers"})


@pytest.mark.parametrize("point", fault_points())
def test_a_run_cut_at_any_step_leaves_all_or_nothing(faulty: tuple[Live, Path], point: str) -> None:
    live, order = faulty
    order.write_text(point)
    live.wirt("run", "--rm", "--name", "cut", "busybox", "true", code=None, timeout=120)
    reached = order.read_text() == ""
    order.write_text("")
    eventually(lambda: answers(live))
    # whatever was cut, the next run of the same name works once the first is out of the way
    if any(guest["name"] == "cut" for guest in live.ask("GET", "/v1/guests?all=1")[1]):
        live.wirt("rm", "-f", "cut")
    done = live.wirt("run", "--rm", "--name", "cut", "busybox", "echo", "again")
    assert done.stdout == "again\n"
    clean(live)
    if not reached:
        pytest.skip(f"{point} is not on the way of this run")


def test_running_guests_survive_the_daemons_death_with_streams_and_codes(
    instance: Live,
) -> None:
    live = instance
    live.wirt(
        "run", "-d", "--name", "stays", "busybox", "sh", "-c",
        "trap 'exit 4' TERM; while :; do echo tick; sleep 0.2; done",
    )  # fmt: skip
    live.wirt("run", "-d", "--name", "goes", "busybox", "sh", "-c", "sleep 1; exit 6")
    before = inspect(live, "stays")["status"]
    live.kill("wirt.daemon")
    live.kill("wirt.privileged")
    eventually(lambda: answers(live))
    after = inspect(live, "stays")["status"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert (after["state"], after["pid"]) == ("running", before["pid"])
    ticks = live.wirt("logs", "stays").stdout.count("tick")
    eventually(lambda: live.wirt("logs", "stays").stdout.count("tick") > ticks)
    assert live.wirt("exec", "stays", "echo", "hi").stdout == "hi\n"
    eventually(lambda: state(live, "goes") == "exited")
    goes = inspect(live, "goes")["status"]
    assert isinstance(goes, dict)
    assert goes["exit_code"] == 6
    live.wirt("stop", "stays")
    stays = inspect(live, "stays")["status"]
    assert isinstance(stays, dict)
    assert stays["exit_code"] == 4
    clean(live)


def test_a_guest_whose_keeper_is_killed_is_put_down_and_said_so(instance: Live) -> None:
    live = instance
    live.wirt("run", "-d", "--name", "orphan", "busybox", "sleep", "1000")
    guest = str(inspect(live, "orphan")["id"])
    keepers = keepers_of(guest)
    assert keepers
    os.kill(min(keepers), 9)
    eventually(lambda: state(live, "orphan") == "exited")
    status = inspect(live, "orphan")["status"]
    assert isinstance(status, dict)
    assert status["exit_code"] == 137
    assert "keeper" in status["error"]
    live.wirt("start", "orphan")
    assert live.wirt("exec", "orphan", "echo", "back").stdout == "back\n"
    clean(live)


def test_a_keeper_that_is_slow_to_answer_keeps_its_guest(instance: Live) -> None:
    """A loaded host must not lose guests because their keepers were not scheduled in time."""
    live = instance
    live.wirt("run", "-d", "--name", "patient", "busybox", "sleep", "1000")
    before = inspect(live, "patient")
    (keeper,) = keepers_of(str(before["id"]))
    os.kill(keeper, signal.SIGSTOP)
    try:
        live.kill("wirt.daemon")
        eventually(lambda: not answers(live))
        eventually(lambda: answers(live))
        assert inspect(live, "patient")["status"] == before["status"]
        refused = live.wirt("exec", "patient", "true", code=125)
        assert "does not answer" in refused.stderr
    finally:
        os.kill(keeper, signal.SIGCONT)
    eventually(lambda: live.wirt("exec", "patient", "true", code=None).returncode == 0)
    assert inspect(live, "patient")["status"] == before["status"]
    live.wirt("kill", "patient")
    clean(live)


def keepers_of(guest: str) -> list[int]:
    """Pids of the keepers of a guest."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and guest in _command_line(entry)
    ]


def _command_line(entry: Path) -> str:
    try:
        words = (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return words[-2].decode() if words and b"wirt-keeper" in words[0] and len(words) > 1 else ""


def test_killing_at_random_moments_leaves_a_whole_world(instance: Live) -> None:
    live = instance
    for round_number in range(6):
        role = ("wirt.daemon", "wirt.privileged")[round_number % 2]
        names = [f"r{round_number}x{n}" for n in range(3)]
        for name in names:
            live.wirt("run", "-d", "--name", name, "busybox", "sleep", "1000", code=None)
            if name == names[1]:
                live.kill(role)
                time.sleep(0.05 * round_number)
        eventually(lambda: answers(live))
        for guest in live.ask("GET", "/v1/guests?all=1")[1]:
            if guest["state"] == "running":
                live.wirt("exec", guest["name"], "true")
    clean(live)
