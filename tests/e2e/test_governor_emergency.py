"""The host runs out of memory, as ``/proc/meminfo`` tells: guests are frozen, and go on again."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import instance as local
from governedbox import changes, start, status
from live import Live, running
from needs import needs, require
from waiting import until
from wirt.linux.cgroup import Cgroups

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper"),
    pytest.mark.timeout(300),
]


class Host:
    """What the instance believes of the host's memory: another program may eat it all."""

    def __init__(self, live: Live, told: Path) -> None:
        self._told = told
        self.leave(8 << 20)
        told.chmod(0o644)
        done = live.inside("mount", "--bind", str(told), "/proc/meminfo")
        assert not done.returncode, done.stderr

    def leave(self, kib: int) -> None:
        """So much is available now."""
        self._told.write_text(f"MemTotal: 8388608 kB\nMemAvailable: {kib:9} kB\nSwapFree: 0 kB\n")


@pytest.fixture(scope="module")
def box(session_tag: str) -> Iterator[tuple[Live, Host]]:
    for mark in pytestmark:
        if mark.name == "needs":
            require(*mark.args)
    told = Path(f"/var/tmp/wt{session_tag}e.meminfo")
    try:
        with running(f"wt{session_tag}e") as live:
            yield live, Host(live, told)
    finally:
        told.unlink(missing_ok=True)


def _frozen(live: Live, *names: str) -> set[str]:
    return {name for name in names if Cgroups.detect().frozen(_group(live, name))}


def _group(live: Live, name: str) -> str:
    found = json.loads(live.wirt("inspect", name).stdout)[0]["id"]
    return f"/{live.instance.name}/{found}"


@needs("qemu", "erofs", "agent", "guest-kernel")
@pytest.mark.parametrize("killed", [False, True])
def test_machines_are_frozen_and_go_on(box: tuple[Live, Host], killed: bool) -> None:
    live, host = box
    try:
        clock = "while :; do date +%s; sleep 0.2; done"
        start(live, "machine", "--as", "microvm", "-m", "128m", does=clock)
        until(lambda: live.wirt("logs", "machine").stdout, "it has booted", within=120)
        host.leave(10 << 10)
        until(lambda: _frozen(live, "machine"), "it is frozen")
        if killed:
            live.kill(local.DAEMON)
            until(lambda: live.wirt("ps", code=None).returncode == 0, "it is back")
        else:
            assert status(live)["state"] == "governing", "ticks do not wait for it"
        host.leave(8 << 20)
        until(lambda: not _frozen(live, "machine"), "it goes on", within=30)
        told = live.wirt("logs", "machine").stdout
        until(lambda: live.wirt("logs", "machine").stdout != told, "it works")
        assert live.wirt("exec", "machine", "echo", "alive").stdout == "alive\n"
        until(lambda: "resume" in {c["act"] for c in changes(live, "machine")}, "it is told")
        assert killed or "pause" in {c["act"] for c in changes(live, "machine")}
    finally:
        host.leave(8 << 20)
        live.wirt("rm", "-f", "machine", code=None)


@needs("qemu", "erofs", "agent", "guest-kernel")
def test_containers_and_machines_go_on_while_nobody_governs(box: tuple[Live, Host]) -> None:
    """The daemon stands still itself, so it neither thaws anybody nor is started again."""
    live, host = box
    names = ("batch", "machine")
    clock = "while :; do date +%s; sleep 0.2; done"
    try:
        start(live, "machine", "--as", "microvm", "-m", "128m", does=clock)
        start(live, "batch", "--class", "batch", does=clock)
        until(lambda: live.wirt("logs", "machine").stdout, "it has booted", within=120)
        host.leave(10 << 10)
        until(lambda: _frozen(live, *names) == set(names), "both are frozen")
        groups = {name: _group(live, name) for name in names}
        daemon = live.pid(local.DAEMON)
        os.kill(daemon, signal.SIGSTOP)
        try:
            until(
                lambda: not any(map(Cgroups.detect().frozen, groups.values())),
                "the helper lets them go on", within=40,
            )  # fmt: skip
            host.leave(8 << 20)
        finally:
            os.kill(daemon, signal.SIGCONT)
        for name in names:
            told = live.wirt("logs", name).stdout
            until(lambda: live.wirt("logs", name).stdout != told, "it works")  # noqa: B023
            assert not _frozen(live, name)
        now = int(live.wirt("exec", "machine", "date", "+%s").stdout)
        assert abs(now - time.time()) < 5, "its clock is right"
        assert status(live)["state"] == "governing"
    finally:
        host.leave(8 << 20)
        live.wirt("rm", "-f", *names, code=None)


@pytest.mark.parametrize("killed", [False, True])
def test_guests_are_frozen_and_go_on(box: tuple[Live, Host], killed: bool) -> None:
    live, host = box
    try:
        start(live, "batch", "--class", "batch")
        start(live, "normal")
        start(live, "desk", "--class", "interactive")
        until(lambda: status(live)["cost"] > 0, "they are looked at")
        host.leave(10 << 10)
        names = ("batch", "normal", "desk")
        until(lambda: _frozen(live, *names) == {"batch", "normal"}, "all but one are frozen")
        if killed:
            live.kill(local.DAEMON)
            until(lambda: live.wirt("ps", code=None).returncode == 0, "it is back")
        host.leave(8 << 20)
        until(lambda: not _frozen(live, *names), "all go on", within=30)
        for name in names:
            live.wirt("exec", name, "true")
        if not killed:
            told = {n: [c["act"] for c in changes(live, n)] for n in names}
            assert "pause" in told["batch"]
            assert "resume" in told["normal"]
            assert "pause" not in told["desk"]
    finally:
        host.leave(8 << 20)
        live.wirt("rm", "-f", "batch", "normal", "desk", code=None)
