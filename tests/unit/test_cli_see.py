"""What is shown of the governor: live, in words, as pictures, and decided again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes import governed
from fakes.client import Run, client
from fakes.daemon import FakeDaemon
from fakes.governed import CHANGE, DC, MIB, SECOND, governing, trace
from wirt.cli.figures import times
from wirt.cli.whywords import sentence
from wirt.errors import Invalid


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with governing(tmp_path / "s") as made:
        yield made


@pytest.fixture
def run(daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]) -> Run:
    return client(daemon, capfd)


# --- why


def test_why_tells_figures_rule_and_effect(daemon: FakeDaemon, run: Run) -> None:
    failed = {**CHANGE, "act": "grow", "before": None, "effect": None, "failure": "EB\x1bUSY",
              "reason": "hungry", "inputs": {}}  # fmt: skip
    daemon.routes["GET /v1/governor/changes/dc"] = lambda x: x.answer([CHANGE, failed])
    code, out, _ = run("why", "--since", "1h", "dc")
    assert code == 0
    first, second = out.splitlines()
    assert "lowered memory from 200MiB to 140MiB: memory is short and it had been calm" in first
    assert (
        "it held 120MiB, read 0 pages a second again, had been calm for 9 ticks, odd 3.5" in first
    )
    assert first.endswith("it took effect.")
    assert "raised memory from no limit to 140MiB" in second
    assert second.endswith("it did not work: EB\\x1bUSY.")
    since = int(daemon.requests[-1].one("since") or 0)
    assert abs(time.time_ns() - 3600 * SECOND - since) < 60 * SECOND


def test_why_of_one_of_whom_nothing_is_known_and_of_whole_pages() -> None:
    known = {**CHANGE, "inputs": {"memory_limit": 560 * MIB}, "after": 560 * MIB + 5,
             "effect": 560 * MIB}  # fmt: skip
    told = sentence(known)
    assert "it might hold at most 560MiB; it took effect." in told
    assert "560MiB; 500MiB was read back." in sentence({**known, "effect": 500 * MIB})


def test_why_as_json_and_when_there_is_nothing(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["GET /v1/governor/changes/dc"] = lambda x: x.answer([CHANGE])
    assert json.loads(run("why", "--json", "dc")[1]) == CHANGE
    daemon.routes["GET /v1/governor/changes/dc"] = lambda x: x.answer([])
    assert run("why", "dc")[1] == "The governor changed nothing of dc of late.\n"


# --- boost and calendar


@pytest.mark.parametrize(
    ("words", "gain"),
    [
        ([], {"cpu": 4000, "memory": 4000}),
        (["--cpu", "8x"], {"cpu": 8000}),
        (["--memory", "1.5x", "--memory", "+2G"], {"memory": 1500, "reserve": 2048 * MIB}),
    ],
)
def test_a_boost_is_asked_for(
    daemon: FakeDaemon, run: Run, words: list[str], gain: dict[str, int]
) -> None:
    answer = {"name": "dc", "target": DC, "group": False, "gain": gain, "entry": "",
              "until": time.time_ns(), "refused": 0}  # fmt: skip
    daemon.routes["POST /v1/boosts"] = lambda x: x.answer(answer, status=201)
    code, out, _ = run("boost", "dc", "--for", "2h", *words)
    assert code == 0
    assert out.startswith("dc is boosted until ")
    assert daemon.requests[-1].json == {
        "target": "dc", "seconds": 7200.0, "gain": gain, "group": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ["dc"], [], ["dc", "--for", "2h", "--cpu", "8"], ["dc", "--for", "2h", "--cpu", "-1x"],
        ["dc", "--for", "2h", "--memory", "2G"], ["dc", "--for", "soon"], ["--list", "dc"],
        ["dc", "--for", "1h", "--cpu", "nanx"], ["dc", "--for", "1h", "--memory", "+1e30"],
    ],
)  # fmt: skip
def test_what_is_no_boost_is_refused(daemon: FakeDaemon, run: Run, words: list[str]) -> None:
    code, _, err = run("boost", *words)
    assert code == 2
    assert "hint:" in err
    assert daemon.requests == []


@pytest.mark.parametrize("text", ["", "x", "8", "8xx", "1.5.5x", "\u0663x", "1e3x", "9999999x"])
def test_no_factors(text: str) -> None:
    with pytest.raises(Invalid):
        times(text, "cpu")


def test_boosts_are_listed_and_ended(daemon: FakeDaemon, run: Run) -> None:
    until = time.time_ns() + 7200 * SECOND
    boost = {"name": "dc", "target": DC, "group": False, "gain": {"cpu": 8000, "memory": 1000,
             "reserve": 2048 * MIB}, "entry": "ab12", "until": until, "refused": 0}  # fmt: skip
    daemon.routes["GET /v1/boosts"] = lambda x: x.answer([boost])
    daemon.routes["DELETE /v1/boosts/dc"] = lambda x: x.answer(None, status=204)
    out = run("boost", "--list")[1]
    assert "cpu 8x, memory +2GiB" in out
    assert "calendar ab12" in out
    assert run("boost", "--cancel", "dc") == (0, "", "")
    assert run("boost", "--list", "--format", "{{.Name}} {{.Group}}")[1] == "dc false\n"


def test_the_calendar(daemon: FakeDaemon, run: Run) -> None:
    entry = {"id": "ab12", "when": "Mon-Fri 07:45-09:30", "name": "dc", "group": False,
             "gain": {"cpu": 4000, "memory": 4000}, "next": 0, "now": True,
             "known": False}  # fmt: skip
    daemon.routes["POST /v1/calendar"] = lambda x: x.answer(entry, status=201)
    daemon.routes["GET /v1/calendar"] = lambda x: x.answer([entry])
    daemon.routes["DELETE /v1/calendar/ab12"] = lambda x: x.answer(None, status=204)
    assert run("calendar", "add", "Mon-Fri 07:45-09:30", "dc")[1] == "ab12\n"
    assert daemon.requests[-1].json["when"] == "Mon-Fri 07:45-09:30"
    assert "nobody of that name" in run("calendar", "ls")[1]
    assert run("calendar", "rm", "ab12") == (0, "ab12\n", "")


def test_stats_with_the_governors_figures(daemon: FakeDaemon, run: Run) -> None:
    sample = {
        "id": DC, "name": "dc", "usage": None, "cpu_user_percent": 12.0, "cpu_system_percent": 3.5,
        "cpu_guest_percent": None, "pressure": {"memory": 0.25},
        "shares": {"memory": {"use": 1, "demand": 2 * MIB, "entitled": 3 * MIB, "limit": None}},
    }  # fmt: skip
    daemon.routes["GET /v1/stats"] = lambda x: x.answer([sample])
    assert "PRESSURE" not in run("stats", "--no-stream")[1]
    shown = run("stats", "--no-stream", "--governor")[1]
    for text in ("12.00% / 3.50% / --", "3MiB / 2MiB", "-- / 25.00% / --", "PIDS"):
        assert text in shown
    fields = "{{.CPUUser}} {{.MemDemand}} {{.CPUDemand}}"
    assert run("stats", "--no-stream", "--format", fields)[1] == "12.00% 2MiB --\n"


def test_the_day_is_that_of_the_fake() -> None:
    assert len(trace(3)) == 5
    assert governed.ROOT.children
