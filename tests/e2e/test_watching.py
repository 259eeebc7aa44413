"""What a real governor did: live, in words, as a picture, to Prometheus, and decided again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import instance as local
from expositions import parse
from fakes.terminal import Terminal
from live import Live, running
from needs import needs, require
from waiting import until

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper"),
    pytest.mark.timeout(300),
]
BUSY = "while :; do :; done"


@pytest.fixture(scope="module")
def live(session_tag: str) -> Iterator[Live]:
    for mark in pytestmark:
        if mark.name == "needs":
            require(*mark.args)
    with running(f"wt{session_tag}w") as instance:
        yield instance


@pytest.fixture
def guests(live: Live) -> Iterator[dict[str, str]]:
    """A busy and an idle one, by name."""
    made = {}
    for name, command in (("dc", BUSY), ("mail", "sleep 1000")):
        out = live.wirt("run", "-d", "--name", name, "busybox", "sh", "-c", command).stdout
        made[name] = out.strip()
    try:
        yield made
    finally:
        live.wirt("rm", "-f", *made, code=None)


def rows(live: Live) -> dict[str, Any]:
    out = live.wirt("top", "--once", "--json").stdout
    return {one["name"]: one for one in json.loads(out)["guests"]} if out else {}


def seen(live: Live, guest_id: str) -> bool:
    """Whether it was looked at twice: guests of the same name may have been there before it."""
    found = [one for one in rows(live).values() if one["id"] == guest_id]
    return bool(found) and found[0]["resources"]["cpu"]["use"] is not None


def test_it_is_seen_live(live: Live, guests: dict[str, str]) -> None:
    until(lambda: all(seen(live, one) for one in guests.values()), "both have been looked at")
    until(lambda: (rows(live)["dc"]["resources"]["cpu"]["use"] or 0) > 100, "one is busy")
    dc: dict[str, Any] = {}

    def known() -> bool:
        dc.update(rows(live)["dc"])  # in a tick whose counters run backwards nothing is known
        return dc["resources"]["memory"]["use"] is not None

    until(known, "and its memory is known")
    assert (dc["id"], dc["state"]) == (guests["dc"], "running")
    assert dc["resources"]["memory"]["use"] > 0
    assert dc["resources"]["memory"]["entitled"] > dc["resources"]["memory"]["use"]
    table = live.wirt("top", "--once").stdout
    assert "governor governing" in table
    assert "dc" in table.split("GUEST")[1]
    assert "PID" in live.wirt("top", "dc").stdout
    with Terminal("top", socket=live.socket, rows=24, columns=140, term="linux") as terminal:
        terminal.wait_for(b"mail")
        terminal.wait_for(b"governing, tick")
        terminal.press(b"jb")
        terminal.wait_for(b"boosted for 10 minutes")
        terminal.wait_for(b"headroom boosted")
        terminal.press(b"b")
        terminal.wait_for(b"no longer boosted")
        terminal.press(b"q")
        assert terminal.end() == 0


def test_a_boost_moves_weights_and_is_told(live: Live, guests: dict[str, str]) -> None:
    until(lambda: seen(live, guests["dc"]), "it has been looked at")
    live.wirt("boost", "dc", "--for", "1h", "--cpu", "8x")
    until(lambda: "boost" in live.wirt("why", "--json", "dc").stdout, "its weight was written")
    assert "a boost began" in live.wirt("why", "dc").stdout
    until(lambda: rows(live)["dc"]["resources"]["cpu"]["shares"] == 8000, "and is shown")
    assert rows(live)["dc"]["boosted_until"] > time.time_ns() + 3000 * 10**9
    live.kill(local.DAEMON)
    until(
        lambda: "cpu 8x" in live.wirt("boost", "--list", code=None).stdout,
        "the daemon is there again, and knows",
    )
    until(lambda: seen(live, guests["dc"]), "it is looked at again")
    until(lambda: rows(live)["dc"]["resources"]["cpu"]["shares"] == 8000, "boosted as before")
    live.wirt("boost", "dc", "--for", "2s", "--cpu", "3x")
    until(lambda: rows(live)["dc"]["resources"]["cpu"]["shares"] == 1000, "it ends by itself")
    assert live.wirt("boost", "--list", "--format", "{{.Name}}").stdout == ""
    entry = live.wirt("calendar", "add", "daily 00:00-24:00", "mail", "--cpu", "2x").stdout.strip()
    until(lambda: rows(live)["mail"]["resources"]["cpu"]["shares"] == 2000, "the calendar counts")
    live.wirt("calendar", "rm", entry)
    until(lambda: rows(live)["mail"]["resources"]["cpu"]["shares"] == 1000, "and ends")
    assert live.wirt("boost", "dc", "--for", "1h", "--memory", "+4096g", code=None).returncode == 6


def test_a_recorded_time_is_drawn_and_decided_again(
    live: Live, guests: dict[str, str], tmp_path: Path
) -> None:
    until(lambda: seen(live, guests["dc"]), "it has been looked at")
    file = tmp_path / "day.trace"
    live.wirt("governor", "record", "--for", "4s", "-o", str(file))
    told = json.loads(live.wirt("replay", str(file), "--json").stdout)
    assert told["ticks"] >= 2
    memory = told["guests"][guests["dc"]]["resources"]["memory"]
    assert memory["replayed"]["mean"] > 0
    for one in told["guests"].values():
        assert one["resources"]["memory"]["replayed"] == one["resources"]["memory"]["recorded"]
    assert told["refused"] == []
    small = live.wirt("replay", str(file), "--json", "--host", "memory=8m,cpu=0.1").stdout
    memory = json.loads(small)["guests"][guests["dc"]]["resources"]["memory"]
    assert memory["replayed"]["most"] <= 8 << 20
    for source in ((), ("--trace", str(file))):
        out = tmp_path / "day.svg"
        live.wirt("host", "plot", "--since", "5m", "-o", str(out), *source)
        words = "".join(ElementTree.fromstring(out.read_text()).itertext())
        assert "Memory" in words
        assert "dc" in words


def test_prometheus_can_read_it(live: Live, guests: dict[str, str]) -> None:
    until(lambda: all(seen(live, one) for one in guests.values()), "both have been looked at")
    status, body = local.request(live.socket, "GET", "/metrics", timeout=30)
    assert status == 200
    found = parse(body.decode())
    dc = {("guest", "dc"), ("id", guests["dc"][:12])}
    assert found["wirt_guest_usage", frozenset(dc | {("resource", "memory")})] > 0
    assert time.time() - found["governor_last_tick_seconds", frozenset()] < 30
    assert found["wirt_guests", frozenset({("state", "running")})] == 2


def test_stats_split_time(live: Live, guests: dict[str, str]) -> None:
    until(lambda: seen(live, guests["dc"]), "it has been looked at")
    fields = "{{.CPUUser}} {{.CPUSystem}} {{.CPUGuest}} {{.MemEntitlement}} {{.CPUPerc}}"
    out = live.wirt("stats", "--no-stream", "--format", fields, "dc").stdout.split()
    assert float(out[0].rstrip("%")) > 5
    assert out[2] == "0.00%"
    assert out[3].endswith("iB")
    parts = sum(float(one.rstrip("%")) for one in out[:3])
    assert float(out[4].rstrip("%")) == pytest.approx(parts, abs=0.02)
