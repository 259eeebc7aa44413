"""Progress of layers: lines for logs, bars that fit a terminal."""

from __future__ import annotations

import posix
import re
from typing import Any

import pytest

from wirt.cli import progress, terminal
from wirt.cli.progress import Layer, Progress


def _states(*states: str) -> str:
    layer = Layer("abc")
    for state in states:
        layer.take({"state": state, "total": 10})
    return layer.line()


def test_a_layer_is_done_when_it_came_and_is_unpacked_in_either_order() -> None:
    assert _states("waiting", "downloading", "unpacking") == "abc: Downloading"
    assert _states("unpacking", "downloaded") == "abc: Extracting"
    assert _states("unpacking", "done") == "abc: "
    assert _states("unpacking", "done", "downloaded") == "abc: Pull complete"
    assert _states("unpacking", "downloaded", "done") == "abc: Pull complete"
    assert _states("exists") == "abc: Already exists"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(progress, "write", lambda fd, data: found.append(data.decode()))
    monkeypatch.setattr(progress, "say", lambda text: found.append(text + "\n"))
    return found


def _tell(shown: Progress, *lines: dict[str, Any]) -> None:
    for line in lines:
        shown.take({"total": 1000, **line})


def test_plain_lines_tell_each_step_once(
    written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posix.isatty", lambda fd: False)
    shown = Progress(quiet=False)
    _tell(
        shown,
        {"layer": "a", "state": "waiting"},
        {"layer": "a", "state": "downloading", "current": 10},
        {"layer": "a", "state": "downloading", "current": 20},
        {"layer": "a", "state": "mounted", "from": "x/y"},
    )
    shown.settle()
    assert written == ["a: Waiting\n", "a: Downloading\n", "a: Mounted from x/y\n"]


def test_bars_are_drawn_in_place_and_fit(
    written: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posix.isatty", lambda fd: True)
    monkeypatch.setitem(posix.environ, b"TERM", b"xterm")
    monkeypatch.setattr(terminal, "size", lambda fd: (5, 40))
    shown = Progress(quiet=False)
    for n in range(9):
        _tell(shown, {"layer": f"layer{n}", "state": "downloading", "current": 500})
    shown.settle()
    last = written[-1]
    assert last.startswith("\x1b[4A\r")
    lines = re.sub(r"\x1b\[\d*[A-Z]", "", last).split("\n")
    assert len(lines) == 5
    assert all(len(line.strip("\r")) < 40 for line in lines)
    assert "Downloading [====>   ] 500B/1kB" in last
    monkeypatch.setattr(terminal, "size", lambda fd: (5, 30))
    _tell(shown, {"layer": "narrow", "state": "downloading", "current": 500})
    assert "narrow: Downloading 500B/1kB\x1b" in written[-1]


def test_quiet_is_quiet(written: list[str]) -> None:
    shown = Progress(quiet=True)
    _tell(shown, {"layer": "a", "state": "waiting"})
    shown.note("x")
    shown.settle()
    assert written == []
