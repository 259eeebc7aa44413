"""The dead man's switch on real control groups: whom the governor froze goes on without it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from needs import needs
from waiting import until
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.privileged import deadman
from wirt.privileged.deadman import Deadman
from wirt.privileged.holds import Safe

pytestmark = needs("root")
FROZEN, OWN, GONE = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def layout(session_tag: str, tmp_path: Path) -> Iterator[Layout]:
    """An instance with two groups, each with a process in it, both frozen; and one that is gone."""
    made = Layout(name=f"wt{session_tag}d", state=tmp_path, run=tmp_path)
    groups = Cgroups.detect()
    sleepers = []
    try:
        for name in (FROZEN, OWN):
            groups.create(made.cgroup(name))
            sleepers.append(subprocess.Popen(["sleep", "1000"]))
            enter(groups, made.cgroup(name), sleepers[-1].pid)
            groups.freeze(made.cgroup(name), True)
        yield made
    finally:
        for name, sleeper in zip((FROZEN, OWN), sleepers, strict=True):
            groups.freeze(made.cgroup(name), False)
            sleeper.kill()
            sleeper.wait()
            groups.remove(made.cgroup(name))
        groups.remove(f"/{made.name}")


def enter(groups: Cgroups, path: str, pid: int) -> None:
    """Move a process there."""
    for directory in groups.directories(path):
        if directory.is_dir():
            (directory / "cgroup.procs").write_text(str(pid))


def frozen(layout: Layout) -> list[bool]:
    return [Cgroups.detect().frozen(layout.cgroup(name)) for name in (FROZEN, OWN)]


def ring(switch: Deadman, seconds: float = 10.0) -> bool:
    """Wait for the timer, and do what it is for, in a child as the helper does; False when it does
    not ring."""
    if not select.select([switch], [], [], seconds)[0]:
        return False
    work = switch.heard()
    if work is None:
        return False
    if (child := os.fork()) == 0:
        try:
            work()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return True


PLAN = (
    Safe(id=GONE, limit=-1, cpu=1024, thaw=True, disk=0),
    Safe(id=FROZEN, thaw=True),
    Safe(id=OWN, cpu=1024),
)
"""One has ended meanwhile; one was frozen by the governor; one by its user, and stays so."""


@pytest.mark.parametrize("helper_killed", [False, True])
def test_whom_the_governor_froze_goes_on_when_it_is_gone(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, helper_killed: bool
) -> None:
    monkeypatch.setattr(deadman, "SILENCE", 0.3)
    switch = Deadman(layout, Cgroups.detect())
    assert not ring(switch, 0.5), "without a plan there is nothing to do"
    switch.beat(PLAN)
    if helper_killed:
        switch = Deadman(layout, Cgroups.detect())
    assert frozen(layout) == [True, True]
    assert ring(switch)
    assert frozen(layout) == [False, True]
    assert ring(switch), "a write may have failed"
    assert ring(switch)
    assert not ring(switch, 0.6), "three times are enough"


def test_it_goes_off_sooner_when_the_connection_ended_and_not_while_somebody_lives(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadman, "SILENCE", 1000.0)
    monkeypatch.setattr(deadman, "LOST", 0.3)
    switch = Deadman(layout, Cgroups.detect())
    switch.beat(PLAN)
    switch.lost()
    switch.beat(None)
    assert not ring(switch, 0.6), "the next daemon is there, and has the same plan"
    assert frozen(layout) == [True, True]
    switch.lost()
    assert ring(switch)
    assert frozen(layout) == [False, True]


def test_a_plan_that_cannot_be_read_is_none(layout: Layout) -> None:
    (layout.run / deadman.FILE).write_text('[{"id": 5')
    assert Deadman(layout, Cgroups.detect()).heard() is None


def test_a_frozen_process_is_really_still_and_then_goes_on(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's word for it is not all: the process itself does something again."""
    monkeypatch.setattr(deadman, "SILENCE", 0.2)
    groups = Cgroups.detect()
    out = tmp_path / "out"
    script = f"while :; do echo x >> {out}; sleep 0.05; done"
    with subprocess.Popen(["sh", "-c", script]) as busy:
        try:
            until(lambda: out.exists(), "it works")
            enter(groups, layout.cgroup(FROZEN), busy.pid)
            before = _settled(out)
            time.sleep(0.3)
            assert out.stat().st_size == before
            switch = Deadman(layout, groups)
            switch.beat(PLAN)
            assert ring(switch)
            until(lambda: out.stat().st_size > before, "it goes on")
        finally:
            groups.freeze(layout.cgroup(FROZEN), False)
            busy.send_signal(signal.SIGKILL)


def _settled(out: Path) -> int:
    sizes = [-1]

    def still() -> bool:
        sizes.append(out.stat().st_size)
        return sizes[-1] == sizes[-2]

    until(still, "it stands still")
    time.sleep(0.2)
    return out.stat().st_size
