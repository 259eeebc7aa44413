"""How long a guest with many threads waited for processors: some of them stand for all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from wirt.linux.cgroup import Cgroups
from wirt.linux.readings import Readings

MS = 1_000_000


class Threads:
    """Threads that wait, as files."""

    def __init__(self, place: Path) -> None:
        self.proc = place / "proc"
        self.group = place / "cpu" / "wirt" / "g"
        self.group.mkdir(parents=True)
        self.waited: dict[int, int] = {}

    def wait(self, each: dict[int, int]) -> None:
        """So many nanoseconds more each; who is not named has ended."""
        self.waited = {task: self.waited.get(task, 0) + more for task, more in each.items()}
        for task, waited in self.waited.items():
            (self.proc / str(task)).mkdir(parents=True, exist_ok=True)
            (self.proc / str(task) / "schedstat").write_text(f"5 {waited} 7\n")
        (self.group / "tasks").write_text("".join(f"{task}\n" for task in sorted(each)))

    def readings(self) -> Readings:
        """Of these threads."""
        cgroups = Cgroups(v1={"cpu": self.group.parents[1]}, v2=None)
        return Readings(cgroups, "/wirt/g", proc=self.proc)


@pytest.fixture
def threads(tmp_path: Path) -> Threads:
    return Threads(tmp_path)


@pytest.mark.parametrize("many", [1, 64, 65, 300])
def test_what_all_wait_is_counted_however_many_they_are(threads: Threads, many: int) -> None:
    all_of_them = dict.fromkeys(range(1000, 1000 + many), 2 * MS)
    threads.wait(all_of_them)
    readings = threads.readings()
    assert readings.read().wait_ns == 0
    for number in range(1, 4):
        threads.wait(all_of_them)
        assert readings.read().wait_ns == number * many * 2 * MS
    readings.close()


def test_a_few_that_wait_among_many_are_found_in_turn(threads: Threads) -> None:
    each = dict.fromkeys(range(1000, 1320), 0) | {1007: 10 * MS, 1100: 10 * MS}
    threads.wait(each)
    readings = threads.readings()
    readings.read()
    for _ in range(10):  # 320 threads by 32
        threads.wait(each)
        waited = readings.read().wait_ns
    assert waited == 10 * 2 * 10 * MS, "over a whole turn nobody counts twice, nobody is missed"
    readings.close()


def test_no_more_than_some_are_asked(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    threads.wait(dict.fromkeys(range(1000, 3000), MS))
    readings = threads.readings()
    readings.read()
    asked: list[bytes] = []
    really = os.open

    def counted(path: bytes, flags: int) -> int:
        asked.append(path)
        return really(path, flags)

    monkeypatch.setattr(os, "open", counted)
    readings.read()
    assert 0 < len([one for one in asked if b"schedstat" in os.fsencode(one)]) <= 64


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_of_a_few_the_files_stay_open_as_long_as_the_threads_are_there(threads: Threads) -> None:
    before = open_files()
    readings = threads.readings()
    threads.wait({1000: MS, 1001: MS})
    readings.read()
    groups = open_files() - 2
    threads.wait({1001: MS, 1002: MS, 1003: MS})
    assert readings.read().wait_ns == MS, "of the one that was there before"
    assert open_files() == groups + 3
    threads.wait(dict.fromkeys(range(1000, 1009), MS))
    readings.read()
    assert open_files() == groups
    threads.wait({1001: MS})
    readings.read()
    readings.close()
    assert open_files() == before


def test_a_thread_that_ends_between_two_looks_is_gone(threads: Threads) -> None:
    """The kernel says so of an open file; its number may be another's by then."""
    readings = Readings(Cgroups(v1={"cpu": threads.group.parents[1]}, v2=None), "/wirt/g")
    with subprocess.Popen(["sleep", "100"]) as first:
        (threads.group / "tasks").write_text(f"{first.pid}\n")
        assert readings.read().wait_ns == 0
        kept = open_files()
        first.kill()
    assert readings.read().wait_ns == 0
    assert open_files() == kept - 1
    readings.close()


def test_threads_come_and_go(threads: Threads) -> None:
    few = dict.fromkeys(range(1000, 1060), MS)
    threads.wait(few)
    readings = threads.readings()
    readings.read()
    many = dict.fromkeys(range(1000, 1120), MS)
    threads.wait(many)
    assert readings.read().wait_ns == 120 * MS, "the known stand for the new"
    threads.wait(few)
    waited = readings.read().wait_ns
    assert waited is not None
    assert waited > 120 * MS
    readings.close()
