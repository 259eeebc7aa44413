"""Machines and containers share one pool: an idle machine gives way to a hungry container."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from governedbox import changes, only_version_1
from live import Live, running
from needs import needs
from waiting import until
from wirt.linux.cgroup import Cgroups

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper"),
    needs("qemu", "erofs", "agent", "guest-kernel"),
    pytest.mark.timeout(400),
]
MIB = 2**20
PATIENCE = 120.0
READ = (
    "dd if=/dev/urandom of=/data bs=1M count=%d 2>/dev/null; while :; do cat /data >/dev/null; done"
)
"""Reads so many MiB again and again: all of it is of use, and none of it must stay."""


@pytest.fixture(scope="module")
def live(session_tag: str) -> Iterator[Live]:
    only_version_1(pytestmark, "this looks at files of version 1")
    with running(f"wt{session_tag}v") as instance:
        yield instance


def _memory(live: Live, guest_id: str) -> Path:
    found = Cgroups.detect().directory("memory", f"/{live.instance.name}/{guest_id}")
    assert found is not None
    return found


def _use(place: Path) -> int:
    return int((place / "memory.usage_in_bytes").read_text())


def _anon(place: Path) -> int:
    """What cannot be dropped: of QEMU the memory of its guest, and its own."""
    words = (place / "memory.stat").read_text().split()
    return int(words[words.index("total_rss") + 1])


@pytest.mark.parametrize("kind", ["microvm", "vm"])
def test_an_idle_machine_gives_way_to_a_hungry_container_and_gets_it_back(
    live: Live, tmp_path: Path, kind: str
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("tick = 0.5\n[pool]\nmemory = '768m'\n")
    live.wirt("governor", "policy", "set", str(policy))
    try:
        fill = "dd if=/dev/zero of=/x bs=1M count=330; echo filled; sleep 1000"
        made = live.wirt("run", "-d", "--as", kind, "-m", "512m", "--name", "idle", "busybox",
                         "sh", "-c", fill)  # fmt: skip
        idle = _memory(live, made.stdout.strip())
        until(lambda: "filled" in live.wirt("logs", "idle").stdout, "it has its cache", PATIENCE)
        until(lambda: _anon(idle) > 380 * MIB, "the host sees it", PATIENCE)
        made = live.wirt("run", "-d", "--name", "hungry", "busybox", "sleep", "1000")
        hungry = _memory(live, made.stdout.strip())
        live.wirt("exec", "-d", "hungry", "sh", "-c", READ % 400)
        until(lambda: _use(hungry) > 400 * MIB, "the container has what it wants", PATIENCE)
        assert _anon(idle) < 368 * MIB
        assert "oom_kill 0" in (hungry / "memory.oom_control").read_text()
        shrinks = [one for one in changes(live, "idle") if one["act"] == "shrink"]
        assert shrinks
        assert all(one["after"] >= 128 * MIB for one in shrinks)
        assert live.wirt("exec", "idle", "echo", "alive").stdout == "alive\n"
        live.wirt("rm", "-f", "hungry")
        live.wirt("governor", "policy", "unset")
        wanted = 512 * MIB
        until(lambda: any(one["act"] == "grow" and one["after"] == wanted
                          for one in changes(live, "idle")),
              "it gets back what its user allowed", PATIENCE)  # fmt: skip
        status = json.loads(live.wirt("governor", "status", "--json").stdout)
        assert status["state"] == "governing"
    finally:
        live.wirt("rm", "-f", "hungry", "idle", code=None)
        live.wirt("governor", "policy", "unset", code=None)
