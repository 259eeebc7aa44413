"""Bombs among guests that share a pool, on the real host: only the bomb's guest suffers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import instance as local
from governedbox import FORKS, HOLD, MIB, changes, only_version_1, pool, start, status
from live import Live, running
from needs import needs
from waiting import until

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def live(session_tag: str) -> Iterator[Live]:
    only_version_1(pytestmark, "fences are for version 1")
    with running(f"wt{session_tag}o") as instance:
        yield instance


def looked_at(live: Live) -> None:
    """Wait until the governor has seen what everybody holds now."""
    now = time.time_ns()
    until(lambda: status(live)["last_tick"] > now, "a tick")


def test_a_bomb_that_goes_off_at_once_meets_its_fence_before_any_tick(
    live: Live, tmp_path: Path
) -> None:
    """Its neighbour is the largest, whom the kernel would end at the limit of the pool."""
    with pool(live, tmp_path, tick=10):
        calm = start(live, "calm", does=HOLD % 150)
        until(lambda: calm.use > 150 * MIB, "calm has what it needs")
        looked_at(live)
        bomb = start(live, "bomb", "--pids-limit", "64", does=FORKS + HOLD % 900)
        assert bomb.ended or bomb.limit < 106 * MIB
        until(lambda: bomb.ended or bomb.oom("oom_kill"), "the kernel ends it", within=9)
        assert calm.oom("oom_kill") == 0
        assert calm.use > 150 * MIB
        live.wirt("exec", "calm", "true")


def test_a_first_fence_goes_with_the_governor(live: Live, tmp_path: Path) -> None:
    """Between two ticks nothing but its start has told the helper of it."""
    with pool(live, tmp_path, tick=5):
        start(live, "calm", does=HOLD % 20)
        looked_at(live)
        own = start(live, "own", "-m", "32m")
        assert own.limit == 32 * MIB, "its own limit is the nearer one"
        looked_at(live)
        new = start(live, "new")
        daemon = live.pid(local.DAEMON)
        os.kill(daemon, signal.SIGSTOP)
        try:
            assert new.limit < 2**60
            until(lambda: new.limit > 2**60, "it may have what its user said", within=20)
            assert own.limit == 32 * MIB
        finally:
            os.kill(daemon, signal.SIGCONT)
        live.wirt("governor", "pause")
        try:
            assert start(live, "late").limit > 2**60, "nobody would take it away"
        finally:
            live.wirt("governor", "resume")


def test_what_a_first_fence_was_is_told(live: Live, tmp_path: Path) -> None:
    with pool(live, tmp_path):
        calm = start(live, "calm", does=HOLD % 100)
        until(lambda: calm.use > 100 * MIB, "calm has what it needs")
        looked_at(live)
        start(live, "new")
        until(lambda: changes(live, "new") != [], "it is looked at, too")
        first = changes(live, "new")[0]
        assert (first["act"], first["reason"]) == ("limit", "fence")
        assert first["after"] < 156 * MIB
        assert "all that others are not promised" in live.wirt("why", "new").stdout


def test_a_first_fence_leaves_others_what_they_came_to_hold_since_the_last_tick(
    live: Live, tmp_path: Path
) -> None:
    with pool(live, tmp_path, tick=10):
        calm = start(live, "calm", does=HOLD % 20)
        until(lambda: calm.use > 20 * MIB, "calm has what it needs")
        looked_at(live)
        live.wirt("exec", "-d", "calm", "sh", "-c", HOLD % 100)
        until(lambda: calm.use > 120 * MIB, "calm needs more")
        assert start(live, "new").limit < (256 - 120) * MIB
