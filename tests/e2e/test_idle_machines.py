"""Idle machines are paused, too, with all of QEMU, and answer whoever comes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.test_idle import acts, frozen, get, sleeps, told, url
from fakes.terminal import Terminal
from live import Live, running
from needs import needs, require
from waiting import until

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper"),
    needs("qemu", "erofs", "agent", "guest-kernel"),
    pytest.mark.timeout(500),
]
PATIENCE = 150.0
IDLE = ("--idle", "pause", "--idle-after", "3s")
SERVE = "httpd -p 80 -h /etc"


@pytest.fixture(scope="module")
def live(session_tag: str) -> Iterator[Live]:
    for mark in pytestmark:
        if mark.name == "needs":
            require(*mark.args)
    with running(f"wt{session_tag}j") as instance:
        yield instance


def test_a_microvm_sleeps_and_answers_whoever_comes(live: Live) -> None:
    made = live.wirt(
        "run", "-dit", "--as", "microvm", "--name", "vm", "-p", "127.0.0.1:0:80", *IDLE,
        "busybox", "sh", "-c", f"{SERVE}; exec sh",
        timeout=120,
    )  # fmt: skip
    guest = made.stdout.strip()
    try:
        until(lambda: sleeps(live, "vm", guest), "it sleeps once it has nothing to do", PATIENCE)
        assert "root" in get(live, url(live, "vm")), "who comes is answered"
        until(lambda: ("wake", "traffic") in acts(live, "vm"), "it is told why", PATIENCE)
        until(lambda: sleeps(live, "vm", guest), "it sleeps again", PATIENCE)
        assert live.wirt("exec", "vm", "echo", "here", timeout=120).stdout == "here\n"
        until(lambda: sleeps(live, "vm", guest), "it sleeps again", PATIENCE)
        with Terminal("attach", "vm", socket=live.socket) as terminal:
            terminal.press(b"echo $((6 * 6))\r")
            terminal.wait_for(b"\r\n36\r\n")
            until(lambda: sleeps(live, "vm", guest), "it sleeps again", PATIENCE)
            heard = acts(live, "vm").count(("wake", "input"))
            terminal.press(b"echo $((6 * 7))\r")
            terminal.wait_for(b"\r\n42\r\n")
            until(lambda: acts(live, "vm").count(("wake", "input")) > heard, "typed", PATIENCE)
            terminal.press(b"\x10\x11")
            assert terminal.end() == 0
        until(lambda: sleeps(live, "vm", guest), "it sleeps again", PATIENCE)
        live.kill("wirt.daemon")
        until(lambda: live.wirt("ps", code=None).returncode == 0, "the daemon is back")
        assert sleeps(live, "vm", guest)
        assert "root" in get(live, url(live, "vm"))
        live.wirt("pause", "vm")
        assert told(live, "vm")["idle_since"] == 0
        live.inside("timeout", "1", "busybox", "wget", "-qO-", url(live, "vm"))
        assert frozen(live, guest)
        live.wirt("unpause", "vm")
        assert "root" in get(live, url(live, "vm"))
    finally:
        live.wirt("rm", "-f", "vm", timeout=120)
