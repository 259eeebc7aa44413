"""The governor on the real host: memory goes where it is needed, back when it is not, and nobody
pays for another's greed, nor for the governor's end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import instance as local
from governedbox import CACHE, FORKS, HOLD, MIB, POOL, changes, only_version_1, pool, start, status
from live import Live, running
from needs import needs
from waiting import until

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def live(session_tag: str) -> Iterator[Live]:
    only_version_1(pytestmark, "these are about version 1; for version 2 see test_governor_v2.py")
    with running(f"wt{session_tag}g") as instance:
        yield instance


def test_nobody_who_never_heard_of_it_is_limited(live: Live) -> None:
    try:
        free, own = start(live, "free"), start(live, "own", "-m", "64m")
        until(lambda: status(live)["guests"] == 2, "both are looked at")
        until(lambda: status(live)["cost"] > 0, "more than once")
        assert free.limit > 2**60
        assert own.limit == 64 * MIB
        assert not free.oom("oom_kill_disable")
        assert not own.oom("oom_kill_disable")
        assert status(live)["state"] == "governing"
        assert not status(live)["dividing"]
    finally:
        live.wirt("rm", "-f", "free", "own", code=None)
    until(lambda: status(live)["state"] == "idle", "without guests it rests")
    last = status(live)["last_tick"]
    time.sleep(2.5)
    assert status(live)["last_tick"] == last, "and does not tick"


def test_memory_goes_where_it_is_needed_and_comes_back(live: Live, tmp_path: Path) -> None:
    with pool(live, tmp_path):
        a, b = start(live, "a", does=CACHE % 112), start(live, "b", does=CACHE % 112)
        until(lambda: a.limit + b.limit <= POOL, "memory is divided")
        live.wirt("exec", "-d", "a", "sh", "-c", HOLD % 180)
        until(lambda: a.use > 180 * MIB, "a has what it wants")
        until(lambda: b.limit <= POOL - 180 * MIB, "b has made room")
        live.wirt("exec", "a", "killall", "awk")
        began = time.monotonic()
        until(lambda: a.use < 20 * MIB, "what a freed is back", within=15)
        live.wirt("exec", "-d", "b", "sh", "-c", HOLD % 180)
        until(lambda: b.use > 180 * MIB, "b has what it wants")
        assert time.monotonic() - began < 60
        assert a.oom("oom_kill") == b.oom("oom_kill") == 0
        acts = {change["act"] for change in changes(live, "b")}
        assert "shrink" in acts
        assert acts & {"grow", "limit"}
        frames = live.wirt("governor", "status", "--json").stdout
        assert json.loads(frames)["dividing"]
    until(lambda: not status(live)["dividing"], "without the pool nothing is short")


def test_a_bomb_harms_only_itself(live: Live, tmp_path: Path) -> None:
    with pool(live, tmp_path):
        calm = start(live, "calm", "--memory-reservation", "64m", does=HOLD % 48)
        until(lambda: calm.use > 48 * MIB, "calm has what it needs")
        bomb = start(live, "bomb", "--pids-limit", "64", does=f"sleep 2; {FORKS}{HOLD % 900}")
        until(lambda: bomb.ended or bomb.oom("oom_kill"), "the kernel ends what nobody can feed")
        assert calm.oom("oom_kill") == 0
        assert calm.use > 48 * MIB
        assert calm.limit >= 64 * MIB, "a promise is kept"
        live.wirt("exec", "calm", "true")


def test_a_bomb_dies_before_a_larger_neighbour(live: Live, tmp_path: Path) -> None:
    """Left to the pool's limit, the kernel ends whoever is largest, and that is the neighbour."""
    with pool(live, tmp_path):
        calm = start(live, "calm", does=HOLD % 150)
        until(lambda: calm.use > 150 * MIB, "calm has what it needs")
        bomb = start(live, "bomb", "--pids-limit", "64", does=f"sleep 2; {FORKS}{HOLD % 900}")
        until(lambda: bomb.ended or bomb.oom("oom_kill"), "the kernel ends it")
        shared = "dd if=/dev/zero of=/dev/shm/x bs=1M count=900; sleep 1000"
        files = start(live, "files", "--shm-size", "1g", does=f"sleep 2; {shared}")
        until(lambda: "fence" in {c["reason"] for c in changes(live, "files")}, "it is fenced")
        until(lambda: files.ended or files.use > 40 * MIB, "it fills its memory")
        live.wirt("exec", "calm", "true")
        time.sleep(2)
        assert calm.oom("oom_kill") == 0
        assert calm.use > 150 * MIB
        told = live.wirt("why", "bomb").stdout
        assert "all that others are not promised" in told


def test_its_own_limit_kills_as_ever(live: Live, tmp_path: Path) -> None:
    with pool(live, tmp_path):
        live.wirt("run", "--name", "own", "-m", "32m", "busybox", "sh", "-c",
                  "sleep 1; " + HOLD % 64, code=137)  # fmt: skip
        assert json.loads(live.wirt("inspect", "own").stdout)[0]["status"]["oom_killed"]


@pytest.mark.parametrize("part", [local.DAEMON, local.HELPER])
def test_an_end_in_the_middle_is_harmless(live: Live, tmp_path: Path, part: str) -> None:
    with pool(live, tmp_path):
        a, b = start(live, "a", does=CACHE % 112), start(live, "b", does=CACHE % 112)
        until(lambda: a.limit + b.limit <= POOL, "memory is divided")
        live.wirt("exec", "-d", "a", "sh", "-c", HOLD % 150)
        live.kill(part)
        until(lambda: a.use > 150 * MIB, "a has what it wants nevertheless")
        until(lambda: live.wirt("governor", "status", code=None).returncode == 0, "it is back")
        until(lambda: b.limit <= POOL - 150 * MIB, "memory is divided again")
        assert a.oom("oom_kill") == 0


def test_a_dead_governor_leaves_a_safe_plan(live: Live, tmp_path: Path) -> None:
    with pool(live, tmp_path):
        a = start(live, "a", does=CACHE % 112)
        own = start(live, "own", "-m", "200m", does=CACHE % 112)
        until(lambda: a.oom("oom_kill_disable") and own.limit < 200 * MIB, "memory is divided")
        daemon = live.pid(local.DAEMON)
        os.kill(daemon, signal.SIGSTOP)
        try:
            until(lambda: a.limit > 2**60 and own.limit == 200 * MIB, "limits are the users' own")
            until(lambda: not a.oom("oom_kill_disable"), "the kernel decides again")
            assert not own.oom("oom_kill_disable")
        finally:
            os.kill(daemon, signal.SIGCONT)
        until(lambda: a.limit + own.limit <= POOL, "it governs again")
        until(lambda: a.oom("oom_kill_disable"), "and guests wait again")


def test_a_pause_gives_back_what_the_users_said(live: Live, tmp_path: Path) -> None:
    with pool(live, tmp_path):
        a = start(live, "a", does=CACHE % 112)
        own = start(live, "own", "-m", "200m", does=CACHE % 112)
        until(lambda: a.limit + own.limit <= POOL, "memory is divided")
        assert json.loads(live.wirt("governor", "pause", "--json").stdout)["state"] == "paused"
        assert a.limit > 2**60
        assert own.limit == 200 * MIB
        assert not a.oom("oom_kill_disable")
        live.wirt("update", "-m", "100m", "own")
        assert own.limit == 100 * MIB
        live.wirt("governor", "resume")
        until(lambda: a.limit + own.limit <= POOL, "memory is divided again")
        live.wirt("update", "-m", "220m", "own")
        until(lambda: a.limit + own.limit <= POOL and own.limit <= 220 * MIB, "also after a change")


def test_a_pool_needs_room_and_bad_policies_are_refused(live: Live, tmp_path: Path) -> None:
    policy = tmp_path / "p.toml"
    for text, said in (
        ("tick = nan", "tick"), ("tick = 'x'", "number"), ("what = 1", "what"),
        ("pool = {memory = '1q'}", "1q"), ("pool = {memory = 1e30}", "int"), ("tick =", "TOML"),
        ("pool = {memory = '1000t'}", "more than the"),
    ):  # fmt: skip
        policy.write_text(text)
        done = live.wirt("governor", "policy", "set", str(policy), code=None)
        assert done.returncode != 0
        assert said in done.stderr
    live.wirt("governor", "policy", "set", "/nowhere", code=None)
    assert not status(live)["changed"]


def test_system_calls_are_not_refused_memory(live: Live, tmp_path: Path) -> None:
    """Who writes into a tmpfs cannot wait at a limit: it would fail, so there is none."""
    read = "dd if=/dev/zero of=/f bs=1M count=300 2>/dev/null; while :; do cat /f >/dev/null; done"
    write = "for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=/t/$i bs=1M count=16 2>&1; done"
    with pool(live, tmp_path):
        reader = start(live, "reader", does=read)
        until(lambda: reader.limit < 2**60, "the cache is held", 60)
        start(live, "writer", "--tmpfs", "/t", does=f"sleep 3; {write}; echo done; sleep 1000")
        until(lambda: "done" in live.wirt("logs", "writer").stdout, "it has written", 60)
        assert "error" not in live.wirt("logs", "writer").stdout
        own = ["-m", "24m", "--memory-swap", "24m"]
        live.wirt("run", "--name", "hog", *own, "busybox", "tail", "/dev/zero", code=137)
        (hog,) = json.loads(live.wirt("inspect", "hog").stdout)
        assert hog["status"]["oom_killed"] is True, "its own limit kills as ever"
