"""The load generator as a program: its words, its signals, what it tells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from needs import NATIVE, needs
from wirt.bench.outcome import read

pytestmark = needs("load")
LOAD = str(NATIVE / "wirt-load")
SMALL = ("day=2", "seed=5", "rate=0=60", "set=0=2,12=4", "iterations=1000", "touches=4")


def load(*words: str, code: int = 0) -> str:
    done = subprocess.run([LOAD, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def test_a_plan_is_what_is_served(tmp_path: Path) -> None:
    planned = json.loads(load("plan", "day=2", "seed=5", "rate=0=60"))
    told = load("run", *SMALL, "anon=50", f"file={tmp_path}/set")
    served = read(told)
    assert served.whole
    assert served.offered == len(planned) > 50
    assert sorted(at for at, _ in served.ends) == planned
    assert all(latency >= 0 for _, latency in served.ends)
    assert (tmp_path / "set").stat().st_size == 2 << 20


def test_plans_differ_by_seed_alone() -> None:
    one, again = (load("plan", "day=5", "seed=1", "rate=0=9,12=99") for _ in range(2))
    assert one == again
    assert one != load("plan", "day=5", "seed=2", "rate=0=9,12=99")


def test_work_can_be_calibrated() -> None:
    assert json.loads(load("calibrate", "cost=100"))["iterations"] > 1000


def test_touching_is_part_of_the_cost(tmp_path: Path) -> None:
    words = ("calibrate", "cost=4000", "set=0=4")
    touching = json.loads(load(*words, f"file={tmp_path}/set", "touches=24"))
    assert touching["touching"] > 0
    alone = json.loads(load("calibrate", "cost=4000"))
    assert 0 < touching["iterations"] < alone["iterations"] * 1.5
    never = json.loads(load(*words, f"file={tmp_path}/set", "touches=9999"))
    assert 0 < never["iterations"] < alone["iterations"] / 2


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("serve",),
        ("run",),
        ("plan", "day=0", "rate=0=1"),
        ("plan", "day=1e3", "rate=0=1"),
        ("plan", "day=-1", "rate=0=1"),
        ("plan", "day=5", "rate=7"),
        ("plan", "day=5", "rate=0=nan"),
        ("plan", "day=5", "rate=8=1,7=1"),
        ("plan", "day=5", "seed=99999999999999999999", "rate=0=1"),
        ("run", *SMALL, "workers=1000"),
        ("run", *SMALL, "anon=101"),
        ("run", *SMALL, "colour=red"),
    ],
)
def test_words_without_sense_are_named(words: tuple[str, ...]) -> None:
    assert "cannot understand" in load(*words, code=2)


def test_what_cannot_be_prepared_is_told(tmp_path: Path) -> None:
    assert "No such file" in load("run", *SMALL, f"file={tmp_path}/absent/set", code=1)
    assert "schedule: Argument list too long" in load("plan", "day=86400", "rate=0=100000", code=1)


def test_the_day_begins_and_ends_with_signals() -> None:
    words = ["run", "day=3600", "seed=1", "rate=0=100", "set=0=1", "anon=100", "iterations=10"]
    with subprocess.Popen([LOAD, *words, "wait=1"], stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert json.loads(waiting.stdout.readline())["ready"]["offered"] > 100_000
        os.kill(waiting.pid, signal.SIGUSR1)
        assert "start" in json.loads(waiting.stdout.readline())
        assert "done" in json.loads(waiting.stdout.readline())
        os.kill(waiting.pid, signal.SIGTERM)
        rest = waiting.stdout.read().splitlines()
        assert waiting.wait(30) == 0
    assert json.loads(rest[-1])["end"]["lost"] > 100_000
