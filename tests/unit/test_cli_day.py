"""A recorded day: kept, decided again without a daemon, told in words, and drawn."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fakes.client import Run, client
from fakes.daemon import FakeDaemon
from fakes.governed import DC, HOSTILE, MIB, TRACE, answer_trace, governing, trace


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with governing(tmp_path / "s") as made:
        yield made


@pytest.fixture
def run(daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]) -> Run:
    return client(daemon, capfd)


def test_a_recorded_day_is_decided_again_without_a_daemon(
    daemon: FakeDaemon, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "day.trace"
    code, out, _ = run("governor", "record", "-o", str(file))
    assert (code, out) == (0, f"5 ticks in {file}\n")
    code, _, err = run("governor", "record", "-o", str(file))  # it is there already
    assert (code, "--force writes over it" in err) == (4, True)
    daemon.routes.clear()
    asked = len(daemon.requests)
    code, out, _ = run("replay", str(file))
    assert code == 0
    assert out.startswith("5 ticks, 1 s")
    assert "dc" in out
    policy = tmp_path / "p.toml"
    policy.write_text(
        '[governor]\ntick = 2.0\n[governor.tuning]\ntax = 0.0\n'
        '[governor.guests.dc.memory]\nreservation = "300m"\nshares = 4000\n'
    )  # fmt: skip
    words = ("--policy", str(policy), "--host", "memory=256m,cpu=0.5")
    code, out, err = run("replay", str(file), *words, "--json")
    assert code == 0
    assert "not replayed: tick; " in err
    told = json.loads(out)
    dc = told["guests"][DC]["resources"]["memory"]
    assert dc["recorded"]["most"] == 339 * MIB
    assert dc["replayed"]["most"] <= 256 * MIB
    assert dc["replayed"]["short_seconds"] == pytest.approx(1.0)
    assert (told["refused"][0]["needed"], told["refused"][0]["free"]) == (300 * MIB, 256 * MIB)
    told = run("replay", str(file), *words)[1]
    assert re.search(
        r"^dc: 0\.\d\d CPUs due instead of 0\.\d\d, on average; 0\.\d\d CPUs less", told, re.M
    )
    assert "MiB of memory due instead of 339MiB, on average; " in told
    assert "more held than due for 1 s instead of 0 s." in told
    assert (
        "Not all could have been promised: memory on the host: guests were promised 300MiB" in told
    )
    assert len(daemon.requests) == asked


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tuning]\ntax = 2.0", "tuning.tax"),
        ("[tuning]\ntax = nan", "tuning.tax"),
        ("[tuning]\npatience = 1.5", "tuning.patience"),
        ("[tuning]\nspeed = 1", "'tuning.speed'"),
        ("pool = 3", "it is no table"),
        ("[pool]\nmemory = \"lots\"", "pool.memory"),
        ("[pool]\ncpu = -1.0", "pool.cpu"),
        ("[pool]\nmemory = 0", "pool.memory"),
        ("[guests.dc]\nbeauty = {shares = 1}", "'guests.dc.beauty'"),
        ("[guests.dc.memory]\nshares = 0", "guests.dc.memory.shares"),
        ("[guests.dc.memory]\nreservation = \"2g\"\nlimit = \"1g\"", "guests.dc.memory"),
        ("x = [", "no policy in TOML"),
        ("governor = 3", "governor of the policy: it is no table"),
        ("[guests.nobody.cpu]\nshares = 5", "guests.nobody of the policy: there is no such guest"),
    ],
)  # fmt: skip
def test_policies_that_make_no_sense(run: Run, tmp_path: Path, text: str, told: str) -> None:
    file, policy = tmp_path / "t", tmp_path / "p.toml"
    file.write_bytes(b"".join(trace()))
    policy.write_text(text)
    code, _, err = run("replay", str(file), "--policy", str(policy))
    assert code not in {0, 70}
    assert told in err


def test_the_policy_as_it_is_shown_can_be_replayed(
    daemon: FakeDaemon, run: Run, tmp_path: Path
) -> None:
    file, policy = tmp_path / "t", tmp_path / "p.toml"
    file.write_bytes(b"".join(trace()))
    shown = {
        "mode": "on", "tick": 1.0, "pool": {"disk": "5m", "zram": "25%", "cpu": None},
        "reserve": {"cpu": 0.1}, "idle": {"groups": {"sales/web": "pause"}, "after": "10m"},
        "tuning": {"tax": 0.2},
    }  # fmt: skip
    daemon.routes["GET /v1/governor/policy"] = lambda x: x.answer(shown)
    policy.write_text(run("governor", "policy")[1])
    assert tomllib.loads(policy.read_text())["governor"]["idle"]["groups"] == {"sales/web": "pause"}
    code, out, err = run("replay", str(file), "--policy", str(policy))
    assert (code, out.splitlines()[0][:12]) == (0, "5 ticks, 1 s")
    assert "not replayed: idle, mode, tick, pool.disk, pool.zram, reserve.cpu; " in err


def test_no_trace_is_replayed(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "t"
    lines = trace()
    for words in (("replay", str(file)), ("host", "plot", "--trace", str(file))):
        file.write_bytes(b"".join([*lines[:3], lines[3][:-40] + b"\n", *lines[4:]]))
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert f"{file}: line 4: it is no JSON: " in err
        assert "line 1 column" not in err
        file.write_bytes(lines[0] + b"[" * 100_000 + b"\n")
        assert f"{file}: line 2: it is no JSON that is read here" in run(*words)[2]
    assert run("replay", str(file), "--host", "disk=1")[0] == 2
    assert run("replay", str(tmp_path / "absent"))[0] == 1


def test_where_nothing_was_seen_nothing_is_claimed(run: Run, tmp_path: Path) -> None:
    """Cut off after its head, a trace once showed that nothing would have changed."""
    file = tmp_path / "t"
    file.write_bytes(trace()[0])
    code, out, err = run("replay", str(file))
    assert (code, out) == (2, "")
    assert f"{file}: there is no tick in it" in err


@pytest.mark.parametrize("text", ["memory=0", "cpu=0", "memory=-1", "cpu=NaN", "cpu", "", "cpu=1,"])
def test_no_host(run: Run, tmp_path: Path, text: str) -> None:
    code, _, err = run("replay", str(tmp_path / "absent"), "--host", text)
    assert (code, f"invalid value {text!r} for --host" in err) == (2, True)
    assert "of the policy" not in err
    assert "hint: " in err


def test_a_recording_that_was_killed_is_used_as_far_as_it_goes(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "t"
    file.write_bytes(b"".join(trace())[:-40])
    code, out, err = run("replay", str(file))
    assert (code, out.splitlines()[0][:12]) == (0, "4 ticks, 1 s")
    assert f"warning: {file} ends within line 7: what is before it is used" in err
    assert run("host", "plot", "--trace", str(file), "--format", "csv")[0] == 0
    file.write_bytes(b"".join(trace())[:-1])  # only the end of the last line is missing
    assert run("replay", str(file))[::2] == (0, "")
    file.write_bytes(trace()[0][:-5])
    assert run("replay", str(file))[0] == 2


@pytest.mark.parametrize("name", ["day.png", "a.b/day.PDF"])
def test_no_other_pictures_are_drawn(run: Run, tmp_path: Path, name: str) -> None:
    code, _, err = run("host", "plot", "-o", str(tmp_path / name))
    assert (code, name.rpartition(".")[2] in err) == (2, True)
    assert list(tmp_path.glob("*.p*")) == []


def test_the_picture_of_a_day(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "day.svg"
    assert run("host", "plot", "--since", "1h", "-o", str(file)) == (0, "", "")
    root = ElementTree.fromstring(file.read_text())
    texts = ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("text")]
    assert {"CPU (cores)", "Memory", "dc"} <= set(texts)
    assert texts[0].startswith("What guests were due, used and wanted, 20")
    assert all(
        word in texts[1] for word in ("pale: due", "full: used", "dashed: wanted", "hatched")
    )
    assert {"128MiB", "256MiB", "384MiB", "0.50", "1.00"} <= set(texts)
    assert any(text.startswith("pause dc") for text in texts)
    hatched = [n for n in root.iter() if n.get("fill") == "url(#unmet)"]
    assert len(hatched) == 1  # dc wants 360 MiB, is due 339 and has 321 of them
    assert "prefers-color-scheme: dark" in file.read_text()


def test_a_day_as_figures(run: Run, tmp_path: Path) -> None:
    trace_file = tmp_path / "t"
    trace_file.write_bytes(b"".join(trace()))
    told = json.loads(run("host", "plot", "--trace", str(trace_file), "--format", "json")[1])
    assert len(told["times"]) == 5
    memory = {one["name"]: one for one in told["resources"]["memory"]["guests"]}
    assert memory["dc"]["use"][0] == 281 * MIB
    assert memory[HOSTILE]["use"] == [None] * 5
    rows = list(csv.DictReader(io.StringIO(run("host", "plot", "--format", "csv")[1])))
    assert len(rows) == 5 * 4
    assert {row["guest"] for row in rows} == {"dc", HOSTILE}
    assert rows[0]["capacity"] == "1000"


def test_a_day_without_ticks_is_a_picture_too(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes[TRACE] = lambda x: answer_trace(x, trace()[:1])
    assert "no two ticks" in "".join(ElementTree.fromstring(run("host", "plot")[1]).itertext())
