"""``--net-limit`` of guests and groups, by the time that real bytes take."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import instance as local
from e2e.test_kinds import KINDS
from e2e.test_terminal import require_kind
from live import Live
from needs import needs
from waiting import until

SIZE = 2_000_000
SERVE = f"dd if=/dev/zero of=/tmp/f bs=1000 count={SIZE // 1000} 2>/dev/null; exec httpd -f -h /tmp"
RATE = 1_000_000
"""Bytes a second that a limit of 8m lets through."""
BEFORE = 400_000
"""Bytes of the first bucket, and of what is under way."""

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper"),
    pytest.mark.timeout(240),
]


def classes(live: Live) -> list[str]:
    """The ceilings of the classes on the way up, as tc shows them."""
    found = live.inside("tc", "class", "show", "dev", f"{live.instance.name}u").stdout
    return sorted(line.partition(" ceil ")[2].split()[0] for line in found.splitlines())


def fetch(live: Live, name: str) -> float:
    """Seconds that the server's file takes to another guest."""
    began = time.monotonic()
    live.wirt("run", "--rm", "busybox", "wget", "-qO", "/dev/null", f"http://{name}/f")
    return time.monotonic() - began


def serve(live: Live, name: str, *flags: str) -> None:
    live.wirt("run", "-d", "--name", name, *flags, "busybox", "sh", "-c", SERVE)
    ready = ("exec", name, "wget", "-qO", "/dev/null", "http://127.0.0.1/f")
    until(lambda: live.wirt(*ready, code=None).returncode == 0, "it serves", 60)


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_holds_from_the_start_and_by_update(instance: Live, kind: str) -> None:
    require_kind(kind)
    live = instance
    serve(live, "server", "--as", kind, "--net-limit", "8m")
    assert classes(live) == ["8Mbit"]
    assert fetch(live, "server") > (SIZE - BEFORE) / RATE
    live.wirt("update", "--net-limit", "4m", "server")
    until(lambda: classes(live) == ["4Mbit"], "the new limit is in force")
    assert fetch(live, "server") > 2 * (SIZE - BEFORE) / RATE
    live.wirt("restart", "-t", "1", "server")
    assert classes(live) == ["4Mbit"]
    live.wirt("update", "--net-limit", "0", "server")
    until(lambda: classes(live) == [], "nothing is left")
    live.wirt("rm", "-f", "server")


def test_a_group_has_its_limit_together(instance: Live) -> None:
    live = instance
    live.wirt("group", "create", "--net-limit", "8m", "web")
    for name in ("one", "two"):
        serve(live, name, "--group", "web")
    words = ["run", "--rm", "busybox", "sh", "-c"]
    both = "wget -qO /dev/null http://one/f & wget -qO /dev/null http://two/f; wait"
    began = time.monotonic()
    live.wirt(*words, both)
    assert time.monotonic() - began > (2 * SIZE - BEFORE) / RATE
    assert len(classes(live)) == 3
    live.wirt("rm", "-f", "one", "two")
    live.wirt("group", "rm", "web")
    until(lambda: classes(live) == [], "nothing is left")


@pytest.mark.parametrize("who", [local.DAEMON, local.HELPER])
def test_a_limit_outlives_who_set_it(instance: Live, who: str) -> None:
    live = instance
    serve(live, "server", "--net-limit", "8m")
    live.kill(who)
    until(lambda: live.wirt("ps", code=None).returncode == 0, "the daemon answers")
    assert classes(live) == ["8Mbit"]
    assert fetch(live, "server") > (SIZE - BEFORE) / RATE
    live.wirt("rm", "-f", "server")
    until(lambda: classes(live) == [], "nothing is left")


def test_what_cannot_be_limited_is_refused(instance: Live) -> None:
    words = ["create", "--net-limit", "8m"]
    refused = instance.wirt(*words, "--network", "host", "busybox", code=None)
    assert refused.returncode != 0
    assert "--net-limit needs network cards" in refused.stderr
    name = f"{instance.instance.name}u"
    instance.inside("ip", "link", "add", name, "type", "bridge")
    failed = instance.wirt("run", "--rm", "--net-limit", "8m", "busybox", "true", code=125)
    assert f"interface {name} that is not wirt's" in failed.stderr
    assert instance.wirt("ps", "-aq").stdout == ""
    instance.inside("ip", "link", "delete", name)
    instance.wirt("run", "--rm", "--net-limit", "8m", "busybox", "true")


def test_a_pool_is_divided_by_reservations_and_shares(instance: Live, tmp_path: Path) -> None:
    live = instance
    refused = live.wirt("create", "--net-shares", "9", "busybox", code=125).stderr
    assert "nobody has said how fast" in refused
    (tmp_path / "policy.toml").write_text('[pool]\nnet = "16m"\n')
    serve(live, "plain")
    live.wirt("governor", "policy", "set", str(tmp_path / "policy.toml"))
    until(lambda: len(classes(live)) == 2, "the link and the guest have classes")
    assert fetch(live, "plain") > (SIZE - BEFORE) / (2 * RATE)
    serve(live, "promised", "--net-reservation", "12m", "--net-shares", "5000")
    refused = live.wirt("run", "-d", "--net-reservation", "8m", "busybox", code=None).stderr
    assert "promised" in refused, "who could release most is named"
    both = "wget -qO /dev/null http://promised/f & wget -qO /dev/null http://plain/f; wait"
    began = time.monotonic()
    live.wirt("run", "--rm", "busybox", "sh", "-c", both)
    assert time.monotonic() - began > (2 * SIZE - BEFORE) / (2 * RATE)
    live.wirt("governor", "policy", "unset")
    until(lambda: classes(live) == [], "nothing is left")
    live.wirt("rm", "-f", "plain", "promised")


def test_a_card_that_comes_later_is_limited_too(instance: Live) -> None:
    live = instance
    live.wirt("network", "create", "other")
    serve(live, "server", "--net-limit", "8m")
    live.wirt("network", "connect", "other", "server")
    alias = live.inside("ip", "-o", "link", "show", "type", "veth").stdout
    cards = [line.split()[1].partition("@")[0] for line in alias.splitlines()]
    assert len(cards) == 2

    def led(card: str) -> bool:
        return "mirred" in live.inside("tc", "filter", "show", "dev", card, "ingress").stdout

    until(lambda: all(map(led, cards)), "both cards' frames go through the bucket")
    began = time.monotonic()
    words = ["run", "--rm", "--network", "other", "busybox", "wget", "-qO", "/dev/null"]
    live.wirt(*words, "http://server/f")
    assert time.monotonic() - began > (SIZE - BEFORE) / RATE
    live.wirt("rm", "-f", "server")
    live.wirt("network", "rm", "other")
    until(lambda: classes(live) == [], "nothing is left")
