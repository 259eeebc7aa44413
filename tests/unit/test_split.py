"""Where processor time goes: user, system and guest mode from the kernel's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wirt.host.insight import percents
from wirt.linux.cgroup import Cgroups
from wirt.linux.split import Split, pressure, some, split

TICK = 10**9 // os.sysconf("SC_CLK_TCK")


def _process(proc: Path, pid: int, guest: int) -> None:
    (proc / str(pid)).mkdir(parents=True)
    fields = ["0"] * 50
    fields[40] = str(guest)
    (proc / str(pid) / "stat").write_text(f"{pid} (qemu) x) " + " ".join(fields))


@pytest.fixture
def v2(tmp_path: Path) -> Cgroups:
    group = tmp_path / "cg" / "wirt" / "g"
    group.mkdir(parents=True)
    (group / "cpu.stat").write_text("usage_usec 9000000\nuser_usec 6000000\nsystem_usec 3000000\n")
    (group / "cgroup.procs").write_text("10\n11\n12\n")
    (group / "memory.pressure").write_text(
        "some avg10=12.50 avg60=1.00 avg300=0.00 total=99\nfull avg10=1.00 avg60=0 total=0\n"
    )
    _process(tmp_path / "proc", 10, 200)
    _process(tmp_path / "proc", 11, 50)  # 12 has gone
    return Cgroups(v1={}, v2=tmp_path / "cg")


def test_guest_mode_is_no_user_mode(v2: Cgroups, tmp_path: Path) -> None:
    made = split(v2, "/wirt/g", proc=tmp_path / "proc")
    assert made.guest == 250 * TICK
    assert made.user == 6 * 10**9 - 250 * TICK
    assert made.system == 3 * 10**9


def test_a_group_that_is_gone_is_unknown(v2: Cgroups, tmp_path: Path) -> None:
    made = split(v2, "/wirt/nosuch", proc=tmp_path / "proc")
    assert (made.user, made.system, made.guest) == (None, None, None)
    assert pressure(v2, "/wirt/nosuch") == {}
    assert pressure(Cgroups(v1={}, v2=None), "/wirt/g") == {}


def test_pressure_is_a_part_of_the_time(v2: Cgroups) -> None:
    assert pressure(v2, "/wirt/g") == {"memory": 0.125}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("full avg10=5.00", None), ("some avg60=5", None), ("some avg10=x", None),
        ("some avg10=-1", None), ("some avg10=nan", None), ("some avg10=250", 1.0),
    ],
)  # fmt: skip
def test_lines_of_pressure(text: str, value: float | None) -> None:
    assert some(text) == value


def test_percents_between_two_readings() -> None:
    first = Split(at=10**9, user=0, system=5)
    half = percents(first, Split(at=2 * 10**9, user=5 * 10**8, system=5))
    assert half == {"total": None, "user": 50.0, "system": 0.0, "guest": None}
    assert percents(first, Split(at=2 * 10**9, user=1, system=4))["system"] is None
    assert set(percents(None, first).values()) == {None}
    assert set(percents(first, first).values()) == {None}


def test_parts_add_up_to_the_whole() -> None:
    """The kernel counts the parts in ticks, the whole in nanoseconds."""
    first = Split(at=0, total=0, user=0, system=0, guest=0)
    later = Split(at=10**9, total=6 * 10**8, user=4 * 10**8, system=2 * 10**8, guest=2 * 10**8)
    found = percents(first, later)
    assert found == {"total": 60.0, "user": 30.0, "system": 15.0, "guest": 15.0}
    calm = percents(first, Split(at=10**9, total=10**6, user=0, system=0, guest=0))
    assert calm == {"total": 0.1, "user": 0.0, "system": 0.0, "guest": 0.0}


def test_this_process_has_times() -> None:
    made = split(Cgroups.detect(), "/")
    assert made.at > 0
    assert made.guest is None or made.guest >= 0
