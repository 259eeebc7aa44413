"""Machines that go off, are deaf or lie, on the real host: only they have what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from governedbox import MIB, SERVE, changes, only_version_1, pace, served, start, status
from live import Live, running
from needs import needs
from waiting import until

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper"),
    needs("qemu", "erofs", "agent", "guest-kernel"),
    pytest.mark.timeout(400),
]
PATIENCE = 120.0
BOMB = r"""
f() { f | f & }; f
exec awk 'BEGIN { c = sprintf("%1048000s", ""); for (i = 0; ; i++) a[i] = c i }'
"""
FILL = """
mkdir /t; mount -t tmpfs -o size=100% t /t
dd if=/dev/zero of=/t/x bs=1M count=150 && echo full; exec sleep 1000
"""
CIRCLES = """
dd if=/dev/urandom of=/f bs=1M count=200 2>/dev/null
while :; do cat /f >/dev/null; done
"""
DEAF = """
set -e; cd /sys/bus/virtio/drivers/virtio_balloon; one=$(ls -d virtio*)
basename $(readlink -f $one/..) >/tmp/place; echo $one >unbind
"""
LIE = """
set -e; place=$(cat /tmp/place); echo $place >/sys/bus/pci/drivers/virtio-pci/unbind
cd /sys/bus/pci/devices/$place; echo 1 >enable
from=$(sed -n 5p resource | cut -d ' ' -f 1)
devmem $((from + 0x2004)) 32 $((352 * 256)); devmem $((from + 0x2004)) 32
"""
"""Where a balloon writes how many pages it has given back, anybody may who is root inside: word 1
of its configuration, which QEMU has at 0x2000 of the fourth range of the card (virtio 1.2, 5.5)."""

HONEST = "cat /tmp/place >/sys/bus/pci/drivers/virtio-pci/bind"


@pytest.fixture
def live(session_tag: str, tmp_path: Path) -> Iterator[Live]:
    only_version_1(pytestmark, "this looks at files of version 1")
    policy = tmp_path / "policy.toml"
    policy.write_text("tick = 0.5\n[pool]\nmemory = '768m'\n")
    with running(f"wt{session_tag}l") as instance:
        instance.wirt("governor", "policy", "set", str(policy))
        yield instance


def _orders(live: Live, name: str) -> list[dict[str, Any]]:
    """What was asked of its balloon so far."""
    return [one for one in changes(live, name) if one["act"] in {"grow", "shrink"}]


def _inside(live: Live, script: str) -> None:
    live.wirt("exec", "liar", "sh", "-c", script)


def test_a_bomb_of_forks_and_memory_in_a_machine_is_its_own_trouble(live: Live) -> None:
    """No limit of processes keeps it in: its machine does."""
    server = start(live, "server", does=SERVE)
    bomb = start(live, "bomb", "--as", "microvm", "-m", "256m", does="sleep 1000")
    until(lambda: _orders(live, "bomb") != [], "its idle memory is taken", PATIENCE)
    before = pace(live, 4)
    live.wirt("exec", "-d", "bomb", "sh", "-c", BOMB)
    until(lambda: _orders(live, "bomb")[-1]["after"] > 240 * MIB, "it gets what is its", PATIENCE)
    assert pace(live, 8) > before / 6, "beside a bomb and the emulation of its processor"
    assert "lost" not in live.wirt("logs", "server").stdout
    assert server.oom("oom_kill") == 0
    assert server.use > 150 * MIB
    assert bomb.use < (256 + 384) * MIB
    assert "raised memory" in live.wirt("why", "bomb").stdout
    live.wirt("rm", "-f", "bomb")
    done = served(live)
    until(lambda: served(live) > done, "it serves on")


def test_a_machine_that_is_deaf_and_then_lies_costs_its_neighbours_nothing(live: Live) -> None:
    liar = start(live, "liar", "--as", "vm", "-m", "384m", "--cap-add", "ALL", does=FILL)
    until(lambda: "full" in live.wirt("logs", "liar").stdout, "it has booted", PATIENCE)
    honest = start(live, "honest", does=CIRCLES)
    until(lambda: honest.use > 200 * MIB, "it has what it needs", PATIENCE)
    until(lambda: _orders(live, "liar") != [], "idle memory of the machine is taken", PATIENCE)

    _inside(live, DEAF)
    deaf = ("its guest gives back no more", "its guest does not tell how its memory goes")
    until(
        lambda: any(words in live.wirt("why", "liar").stdout for words in deaf),
        "it is told about, whether it was just asked for something or not", PATIENCE,
    )  # fmt: skip
    until(lambda: liar.id in status(live)["blind"], "nor does it tell anything", PATIENCE)
    assert liar.id in status(live)["stuck"]
    orders = len(_orders(live, "liar"))

    _inside(live, LIE)
    until(
        lambda: "leaves it 32 MiB, but it holds" in live.wirt("why", "liar").stdout,
        "the host sees that it lies", PATIENCE,
    )  # fmt: skip
    assert len(_orders(live, "liar")) == orders, "it is asked for nothing more"
    told = [one for one in changes(live, "liar") if "but it holds" in one["failure"]]
    assert len(told) <= 2, "and not told about in each tick"
    assert honest.use > 200 * MIB
    assert honest.limit > 200 * MIB
    assert honest.oom("oom_kill") == 0

    _inside(live, HONEST)
    until(lambda: status(live)["blind"] == status(live)["stuck"] == [], "it is believed", PATIENCE)
    assert live.wirt("exec", "liar", "echo", "alive").stdout == "alive\n"
