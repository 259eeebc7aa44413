"""``wirt top`` on every kind of terminal, and without one."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.client import Run, client
from fakes.daemon import Exchange, FakeDaemon
from fakes.governed import (
    CHANGE,
    DC,
    HOSTILE,
    MIB,
    SECOND,
    TRACE,
    answer_trace,
    frame,
    governing,
    scene,
    trace,
)
from fakes.terminal import Terminal, start, wirt
from wirt.cli import toprows
from wirt.cli.keys import Keys
from wirt.governor.journal import Frame
from wirt.governor.trace import Head, Label, Scene, encode
from wirt.governor.tree import Group, Member


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with governing(tmp_path / "s") as made:
        yield made


@pytest.fixture
def run(daemon: FakeDaemon, capfd: pytest.CaptureFixture[str]) -> Run:
    return client(daemon, capfd)


def test_top_once_is_one_table_of_the_newest_tick(run: Run) -> None:
    code, out, err = run("top", "--once")
    assert (code, err) == (0, "")
    head, titles, *rows = out.splitlines()
    assert "cpu 1.00 used 75 %" in head
    assert "memory 512MiB used" in head
    assert "governor governing, tick 0.2 s, 1 blind" in head
    assert titles.split()[:2] == ["GUEST", "STATE"]
    dc = rows[0]
    assert dc.split()[:2] == ["dc", "running"]
    for figure in ("0.71/", "/0.73", "0.02", "2000", "410/s", "hungry", "#"):
        assert figure in dc
    assert "321/339/360" in dc  # the fifth tick, not the first
    assert "-/64/-" in rows[1]
    assert "blind" in rows[1]


def test_no_guests_name_drives_a_terminal(run: Run) -> None:
    for words in (("top", "--once"), ("top", "--plain"), ("top", "--json"), ("host", "plot")):
        _, out, _ = run(*words)
        assert "\x1b" not in out
        assert "]0;il" in out


def test_top_plain_is_a_table_a_tick_and_json_a_line(run: Run) -> None:
    assert run("top", "--plain")[1].count("GUEST") == 5
    records = [json.loads(line) for line in run("top", "--json")[1].splitlines()]
    assert len(records) == 5
    assert records[-1]["alarm"] == "none"
    guests = {guest["name"]: guest for guest in records[-1]["guests"]}
    assert guests[HOSTILE]["why"] == "blind"
    memory = guests["dc"]["resources"]["memory"]
    assert (memory["use"], memory["reservation"], memory["shares"]) == (321 * MIB, 32 * MIB, 1000)


def test_top_sorts_and_shows_groups(run: Run) -> None:
    def names(*words: str) -> list[str]:
        lines = run("top", "--once", *words)[1].splitlines()[2:]
        return [line.split()[0] for line in lines if line]

    hostile = "ma\\x1b]0;il\\n=x"
    assert names("--sort", "cpu") == ["dc", hostile]
    assert names("--sort", "shares") == ["dc", hostile]
    assert names("--tree") == [hostile, "it/", "dc"]
    assert run("top", "--sort", "beauty")[0] == 2


def test_top_without_a_tick_says_so(daemon: FakeDaemon, run: Run) -> None:
    daemon.routes["GET /v1/governor"] = lambda x: x.answer({"state": "idle"})
    daemon.routes[TRACE] = lambda x: answer_trace(x, trace()[:1])
    code, out, _ = run("top", "--once")
    assert code == 0
    assert "governor idle, no tick yet" in out


def test_top_of_a_guest_stays_dockers(daemon: FakeDaemon, run: Run) -> None:
    table = {"titles": ["PID"], "processes": [["1"]]}
    daemon.routes["GET /v1/guests/dc/top"] = lambda x: x.answer(table)
    assert run("top", "dc") == (0, "PID\n1\n", "")
    assert run("top", "--once", "dc")[0] == 2


class Live:
    """Ticks for as long as a test wants."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.paused = False
        self.over = threading.Event()
        self.boosts: dict[str, int] = {}
        daemon.routes[TRACE] = self.ticks
        daemon.routes[f"POST /v1/guests/{DC}/pause"] = self.pause
        daemon.routes["POST /v1/boosts"] = self.boost
        daemon.routes[f"GET /v1/governor/changes/{DC}"] = lambda x: x.answer([CHANGE])

    def ticks(self, exchange: Exchange) -> None:
        exchange.begin()
        exchange.chunk(encode(Head(at=1)))
        while not self.over.wait(0.1):
            now = time.time_ns()
            shown = scene(now, boosts=self.boosts, paused=self.paused)
            exchange.chunk(encode(shown))
            exchange.chunk(encode(frame(now)))
        exchange.chunk(b"")

    def pause(self, exchange: Exchange) -> None:
        self.paused = True
        exchange.answer(None, status=204)

    def boost(self, exchange: Exchange) -> None:
        self.boosts = {DC: time.time_ns() + 600 * SECOND}
        exchange.answer({}, status=201)


def test_top_on_a_terminal(daemon: FakeDaemon) -> None:
    live = Live(daemon)
    with Terminal("top", socket=daemon.path, rows=24, columns=160, term="linux") as terminal:
        try:
            terminal.wait_for(b"281/339/360")
            assert terminal.is_raw()
            terminal.press(b"w")
            terminal.wait_for(b"lowered memory from 200MiB to 140MiB")
            terminal.press(b"p")
            terminal.wait_for(b"dc is paused")
            terminal.press(b"b")
            terminal.wait_for(b"boosted for 10 minutes")
            terminal.press(b"t")
            terminal.wait_for(b"it/")
            terminal.resize(10, 40)
            terminal.press(b"q")
            assert terminal.end() == 0
        finally:
            live.over.set()
        assert terminal.mode() == terminal.before
        assert b"\x1b]0;" not in terminal.seen
        sent = [r.json for r in daemon.requests if r.path == "/v1/boosts"]
        assert [(one["target"], one["seconds"]) for one in sent] == [(DC, 600)]


def crowd(guests: int = 50) -> tuple[Scene, Frame]:
    """So many guests, each with the figures of ``dc``; every third sleeps, one has swap."""
    ids = [f"{number:064x}" for number in range(guests)]
    now = time.time_ns()
    model = frame(now)
    seen = model.tick.guests[DC]
    made = Scene(
        at=now,
        root=Group(name="", children=tuple(Member(name=one) for one in ids)),
        labels={
            one: Label(name=f"guest-{n:02}", state="running" if n % 3 else "sleeping")
            for n, one in enumerate(ids)
        },
    )
    shown = replace(
        model,
        tick=replace(
            model.tick,
            guests={one: replace(seen, swap=7 * MIB * (n == 7)) for n, one in enumerate(ids)},
        ),
        shares={one: model.shares[DC] for one in ids},
        reasons={one: model.reasons[DC] for one in ids},
        changes=(),
    )  # fmt: skip
    return made, shown


def screen(seen: bytes, rows: int) -> list[str]:
    """What stands on the terminal after all that was sent to it."""
    shown = [""] * rows
    text = seen.decode().rpartition("\x1b[H\x1b[J")[2]
    for number, line in re.findall(r"\x1b\[(\d+);1H([^\x1b]*)\x1b\[K", text):
        shown[int(number) - 1] = line
    return shown


@pytest.mark.parametrize(("rows", "columns"), [(8, 40), (24, 80), (200, 400), (2, 10), (60, 132)])
def test_many_guests_fit_any_terminal(daemon: FakeDaemon, rows: int, columns: int) -> None:
    lines = [encode(one) for one in (Head(at=1), *crowd())]
    over = threading.Event()

    def feed(exchange: Exchange) -> None:
        exchange.begin()
        exchange.chunk(b"".join(lines))
        over.wait(30)
        exchange.chunk(b"")

    daemon.routes[TRACE] = feed
    with Terminal("top", socket=daemon.path, rows=rows, columns=columns, term="vt100") as terminal:
        try:
            foot = min(rows, 53)  # below a headline, the heading, and fifty
            terminal.wait_for(f"\x1b[{foot};1Hq quit".encode())
            shown = screen(terminal.seen, rows)
            assert max(map(len, shown)) <= columns
            if rows > 4:
                assert "MEM use/due/want" in shown[1]
                assert any("281/171/360" in line or "281/" in line for line in shown[2:-1])
                assert shown[2].startswith(">guest-00")
                terminal.press(b"\x1b[6~" * 9)  # page down, beyond the end
                terminal.wait_for(b">guest-49")
            if columns > 160:
                assert "SWAP" in shown[1]
                assert "sleeping" in shown[2]
            terminal.resize(24, 100)
            terminal.press_until(b"c", b"sorted by CPU used")
            terminal.press(b"\x1bOP")  # F1 is no p
            terminal.press(b"q")
            assert terminal.end() == 0
        finally:
            over.set()
        assert [one.path for one in daemon.requests if one.method == "POST"] == []


def test_only_what_changed_is_written(daemon: FakeDaemon) -> None:
    live = Live(daemon)
    with Terminal("top", socket=daemon.path, rows=24, columns=160, term="linux") as terminal:
        try:
            terminal.wait_for(b"281/339/360")
            begin = len(terminal.seen)
            terminal.press(b"n")
            terminal.wait_for(b"sorted by name")
            terminal.press(b"q")
            assert terminal.end() == 0
        finally:
            live.over.set()
    assert b"281/339/360" not in terminal.seen[begin:]


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_dumb_terminal_gets_tables_below_each_other(daemon: FakeDaemon, term: str) -> None:
    live = Live(daemon)
    with Terminal("top", socket=daemon.path, rows=8, columns=60, term=term) as terminal:
        try:
            terminal.wait_for(b"281/339/360")
            assert not terminal.is_raw()
            terminal.press(b"\x03")
            assert terminal.end() == 130
        finally:
            live.over.set()
        assert b"\x1b" not in terminal.seen
        assert max(len(line) for line in terminal.seen.splitlines()) <= 60


def test_into_a_pipe_it_goes_on_until_nobody_reads(daemon: FakeDaemon) -> None:
    live = Live(daemon)
    process = start("top", socket=daemon.path, TERM="xterm")
    try:
        assert process.stdout is not None
        head = process.stdout.readline() + process.stdout.readline()
        assert b"GUEST" in head
        assert b"REFAULT" in head  # nothing is cut where nobody is looking
        process.stdout.close()
        assert process.wait(20) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""
    finally:
        live.over.set()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stderr):
            if stream is not None:
                stream.close()


def test_what_is_over_is_no_longer_shown(daemon: FakeDaemon) -> None:
    over = threading.Event()

    def feed(exchange: Exchange) -> None:
        exchange.begin()
        exchange.chunk(b"".join(trace()))
        over.wait(30)
        exchange.chunk(b"")

    daemon.routes[TRACE] = feed
    with Terminal("top", socket=daemon.path, term="linux") as terminal:
        try:
            terminal.wait_for(b"321/339/360")
            daemon.routes["GET /v1/governor"] = lambda x: x.answer({"state": "idle"})
            terminal.wait_for(b"governor idle, no tick yet")
            assert not any("dc" in line for line in screen(terminal.seen, 24)[1:])
            terminal.press(b"q")
            assert terminal.end() == 0
        finally:
            over.set()


def test_once_waits_for_what_comes_in_pieces(daemon: FakeDaemon) -> None:
    def feed(exchange: Exchange) -> None:
        exchange.begin()
        for line in trace():
            exchange.chunk(line)
            time.sleep(0.02)
        exchange.chunk(b"")

    daemon.routes[TRACE] = feed
    assert b"321/339/360" in wirt("top", "--once", socket=daemon.path).out


def test_nobody_is_a_record_too(daemon: FakeDaemon) -> None:
    daemon.routes[TRACE] = lambda x: answer_trace(x, trace()[:1])
    told = json.loads(wirt("top", "--once", "--json", socket=daemon.path).out)
    assert (told["guests"], told["alarm"]) == ([], "none")
    assert set(told) == set(toprows.record(*crowd(1)))


def test_swap_and_sleep_are_shown() -> None:
    made, shown = crowd(9)
    table = toprows.lines(toprows.rows(made, shown), capacity=512 * MIB)
    at = table[0].index("SWAP") + 4
    assert [line[:at].split()[-1] for line in table[1:]] == ["0"] * 7 + ["7", "0"]
    assert [line.split()[1] for line in table[1:4]] == ["sleeping", "running", "running"]
    told = toprows.record(made, shown)["guests"]
    assert [one["swap"] for one in told] == [0] * 7 + [7 * MIB, 0]
    assert told[0]["state"] == "sleeping"


@given(st.integers(12, 300))
def test_a_table_is_as_wide_as_it_may_be(columns: int) -> None:
    made, shown = crowd(3)
    rows = toprows.rows(made, shown)
    table = toprows.lines(rows, columns=columns, chosen=0, capacity=512 * MIB)
    assert max(map(len, table)) <= columns
    assert table[0].split()[0] == "GUEST"
    if columns >= 40:
        assert "MEM use/due/want MiB" in table[0]
    if columns >= 150:
        assert table[0] == toprows.lines(rows, chosen=0)[0]


@pytest.mark.parametrize(
    ("pieces", "keys"),
    [
        ([b"jk"], "jk"), ([b"\x1b[A\x1b[B"], "kj"), ([b"\x1bOA"], "k"),
        ([b"\x1b[5~\x1b[6~"], "KJ"),
        ([b"\x1b", b"x"], "\x1bx"), ([b"\x1b[", b"A"], "k"), ([b"\x1bO", b"P", b"q"], "q"),
        ([b"\x1b[15~q"], "q"), ([b"\x1b[<0;3;4Mq"], "q"), ([b"\x1b[1;5", b"Cn"], "n"),
        ([b"\xff"], "ÿ"),
    ],
)  # fmt: skip
def test_keys(pieces: list[bytes], keys: str) -> None:
    taken = Keys()
    assert "".join(taken.take(piece) for piece in pieces) == keys
