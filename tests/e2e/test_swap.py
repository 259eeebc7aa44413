"""Compressed swap by the policy: guests use it within their own limits, and it goes with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import instance as local
from live import Live, running
from needs import needs, require
from waiting import until
from wirt.linux import zram

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper", "zram"),
    pytest.mark.timeout(200),
]
MIB = 1 << 20
HOLD = (
    'exec awk \'BEGIN { c = sprintf("%1048000s", ""); for (i = 0; i < 40; i++) a[i] = c i; '
    'print "held"; fflush(); while (1) system("sleep 1000") }\''
)


@pytest.fixture(scope="module")
def live(session_tag: str) -> Iterator[Live]:
    for mark in pytestmark:
        if mark.name == "needs":
            require(*mark.args)
    with running(f"wt{session_tag}s") as instance:
        yield instance


def own(live: Live) -> dict[str, int] | None:
    found: dict[str, int] | None = json.loads(live.wirt("governor", "status", "--json").stdout)[
        "swap"
    ]
    return found


def devices() -> set[int]:
    return {one.number for one in zram.devices() if one.size}


def test_swap_comes_and_goes_with_the_policy(live: Live, tmp_path: Path) -> None:
    before = devices()
    policy = tmp_path / "policy.toml"
    policy.write_text("[pool]\nzram = '64m'\n")
    live.wirt("governor", "policy", "set", str(policy))
    try:
        (number,) = devices() - before
        assert own(live) == {"size": 64 * MIB, "used": 0, "stored": pytest.approx(4096, abs=65536)}
        _swaps_within_its_limits(live)
        live.kill(local.DAEMON)
        _back(live)
        until(lambda: own(live) is not None, "its swap is found again")
        assert devices() - before == {number}
    finally:
        _back(live)
        live.wirt("rm", "-f", *live.wirt("ps", "-aq").stdout.split(), code=None)
        live.wirt("governor", "policy", "unset")
    assert own(live) is None
    assert devices() == before


def _back(live: Live) -> None:
    until(lambda: live.wirt("governor", "status", code=None).returncode == 0, "the daemon is back")


def _swaps_within_its_limits(live: Live) -> None:
    live.wirt("run", "-d", "--name", "swaps", "-m", "24m", "busybox", "sh", "-c", HOLD)
    until(lambda: "held" in live.wirt("logs", "swaps").stdout, "40 MiB in 24 of memory")
    until(lambda: (own(live) or {})["used"] >= 12 * MIB, "the rest is in the swap")
    swap = own(live)
    assert swap is not None
    assert swap["stored"] < swap["used"]
    told = live.pipe("governor", "status").decode()
    assert "of 64MiB used, compressed into" in told
    _, body = local.request(live.socket, "GET", "/metrics", timeout=30)
    assert b'wirt_host_swap_bytes{what="size"} 67108864' in body
    both = ("-m", "24m", "--memory-swap", "24m")
    live.wirt("run", "-d", "--name", "none", *both, "busybox", "sh", "-c", HOLD)
    until(lambda: _killed(live, "none"), "who may swap nothing is killed")


def _killed(live: Live, name: str) -> bool:
    (guest,) = json.loads(live.wirt("inspect", name).stdout)
    return bool(guest["status"]["oom_killed"])


@pytest.mark.parametrize(
    "zram", ["0%", "300%", "nan%", "much%", "12", "1e30"],
)  # fmt: skip
def test_what_is_no_size_is_refused(live: Live, tmp_path: Path, zram: str) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(f"[pool]\nzram = '{zram}'\n")
    done = live.wirt("governor", "policy", "set", str(policy), code=None)
    assert done.returncode not in {0, 1}
    assert "zram" in done.stderr or zram in done.stderr
    assert own(live) is None


def test_nothing_of_it_is_left_when_the_instance_goes(session_tag: str, tmp_path: Path) -> None:
    before = devices()
    policy = tmp_path / "policy.toml"
    policy.write_text("[pool]\nzram = '16m'\n")
    with running(f"wt{session_tag}z") as instance:
        instance.wirt("governor", "policy", "set", str(policy))
        assert len(devices() - before) == 1
    assert devices() == before
