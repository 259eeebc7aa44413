"""What neighbours notice of bombs and liars, on the real host: nothing of theirs is lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from governedbox import MIB, POOL, SERVE, Groups, only_version_1, pace, pool, served, start
from live import Live, running
from needs import needs
from waiting import until

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper"),
    pytest.mark.timeout(300),
]
BOMB = """
exec awk 'BEGIN { while (1) { system("eval \\"$FORKS\\" &"); system("eval \\"$HOARD\\"") } }'
"""
FORKS = "f() { f | f & }; f"
HOARD = """exec awk 'BEGIN { c = sprintf("%1048000s", ""); for (i = 0; ; i++) a[i] = c i }'"""
CIRCLES = (
    "dd if=/dev/zero of=/f bs=1M count=%d 2>/dev/null; "
    "while :; do cat /f >/dev/null; echo pass; done"
)
"""Reads so many MiB again and again."""


@pytest.fixture(scope="module")
def live(session_tag: str) -> Iterator[Live]:
    only_version_1(pytestmark, "this looks at files of version 1")
    with running(f"wt{session_tag}h") as instance:
        yield instance


def _passes(live: Live, seconds: float) -> float:
    """Of the honest one, a second."""
    first, began = len(live.wirt("logs", "honest").stdout.split()), time.monotonic()
    time.sleep(seconds)
    last = len(live.wirt("logs", "honest").stdout.split())
    return (last - first) / (time.monotonic() - began)


def _bomb(live: Live) -> Groups:
    words = ("-e", f"FORKS={FORKS}", "-e", f"HOARD={HOARD}", "--pids-limit", "64")
    return start(live, "bomb", *words, "--restart", "always", does=BOMB)


def _went_off(bomb: Groups) -> bool:
    """Whether the kernel has ended something of its present run."""
    with contextlib.suppress(FileNotFoundError):  # just between two runs
        return bool(bomb.oom("oom_kill"))
    return False


def test_who_serves_beside_a_bomb_of_forks_and_memory_goes_on_serving(
    live: Live, tmp_path: Path
) -> None:
    """Equal weights: half of the processors are its own. How busy the host is besides nobody
    knows, so only a collapse fails."""
    with pool(live, tmp_path):
        server = start(live, "server", does=SERVE)
        until(lambda: served(live) > 0, "it serves")
        before = pace(live, 4)
        bomb = _bomb(live)
        until(lambda: _went_off(bomb), "the kernel ends the bomb's processes")
        beside = pace(live, 6)
        until(lambda: _went_off(bomb), "it goes off again and again")
        assert "lost" not in live.wirt("logs", "server").stdout
        assert beside > before / 4
        assert server.oom("oom_kill") == 0
        assert server.use > 150 * MIB


def test_who_looks_hungry_gets_no_more_than_its_share(live: Live, tmp_path: Path) -> None:
    """It reads in circles what would need more than all there is."""
    with pool(live, tmp_path):
        honest = start(live, "honest", does=CIRCLES % 64)
        until(lambda: honest.use > 62 * MIB, "it has what it needs")
        before = _passes(live, 4)
        liar = start(live, "liar", does=CIRCLES % 320)
        until(lambda: liar.use > 140 * MIB, "it takes what is free")
        until(lambda: honest.limit + liar.limit <= POOL, "memory is divided")
        beside = _passes(live, 6)
        assert beside > before / 4
        also = start(live, "also", does=CIRCLES % 320)
        until(lambda: honest.limit + liar.limit + also.limit <= POOL, "all three share it")
        until(lambda: abs(liar.limit - also.limit) < 16 * MIB, "equal shares, equal parts")
        until(lambda: honest.limit > 62 * MIB, "less than a third is its own")
        assert _passes(live, 6) > before / 8
