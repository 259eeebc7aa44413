"""The governor ended at each of its steps, as by a power cut: nobody dies of it, nobody starves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from governedbox import CACHE, HOLD, MIB, POOL, only_version_1, pool, start, status
from live import Live, faulted
from needs import needs
from waiting import until

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def faulty(session_tag: str) -> Iterator[tuple[Live, Path]]:
    """An instance whose next fault is ordered by a file."""
    only_version_1(pytestmark, "these are about version 1")
    with faulted(f"wt{session_tag}k") as made:
        yield made


@pytest.mark.parametrize(
    "step", ["govern.hold", "squeeze.bite", "child:squeeze.bite", "governor.ticked"]
)
def test_cut_between_two_writes(faulty: tuple[Live, Path], tmp_path: Path, step: str) -> None:
    live, order = faulty
    with pool(live, tmp_path):
        a, b = start(live, "a", does=CACHE % 112), start(live, "b", does=CACHE % 112)
        until(lambda: a.limit + b.limit <= POOL, "memory is divided")
        live.wirt("exec", "-d", "a", "sh", "-c", f"sleep 2; {HOLD % 150}")
        order.write_text(step)  # before it begins
        until(lambda: order.read_text() == "", f"{step} is reached")
        until(lambda: a.use > 150 * MIB, "a has what it wants nevertheless")
        until(lambda: live.wirt("governor", "status", code=None).returncode == 0, "it is back")
        until(lambda: b.limit <= POOL - 150 * MIB, "b has made room")
        assert a.oom("oom_kill") == b.oom("oom_kill") == 0
        live.wirt("exec", "b", "true")
        live.wirt("governor", "policy", "unset")
        until(lambda: not status(live)["dividing"], "nothing is short any more")
        until(lambda: min(a.limit, b.limit) > 2**60, "limits are what the users said")
        assert not a.oom("oom_kill_disable")
        assert not b.oom("oom_kill_disable")
