"""Idle guests are paused, and answer as soon as anybody wants something of them."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import instance as local
from fakes.terminal import Terminal, start
from live import Live, running
from needs import needs, require
from waiting import until
from wirt.linux.cgroup import Cgroups

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper"),
    pytest.mark.timeout(300),
]
SERVE = ("httpd", "-f", "-p", "80", "-h", "/etc")
IDLE = ("--idle", "pause", "--idle-after", "1s")
WITHIN = 15.0
"""Seconds, of which a guest is idle one, and seen to be so at the next ticks."""


@pytest.fixture(scope="module")
def live(session_tag: str) -> Iterator[Live]:
    for mark in pytestmark:
        if mark.name == "needs":
            require(*mark.args)
    with running(f"wt{session_tag}i") as instance:
        yield instance


@pytest.fixture(autouse=True)
def _removed(live: Live) -> Iterator[None]:
    yield
    live.wirt("rm", "-f", *live.wirt("ps", "-aq").stdout.split(), code=None)


def serve(live: Live, name: str, *flags: str) -> str:
    """A guest that answers on a published port; its id."""
    words = ("run", "-d", "--name", name, "-p", "127.0.0.1:0:80", *flags)
    guest = live.wirt(*words, "busybox", *SERVE).stdout.strip()
    until(lambda: "root" in get(live, url(live, name)), "it answers")
    return guest


def url(live: Live, name: str) -> str:
    found = re.search(r"127\.0\.0\.1:\d+", live.wirt("port", name).stdout)
    assert found is not None
    return f"http://{found[0]}/passwd"


def get(live: Live, where: str) -> str:
    return live.inside("timeout", "20", "busybox", "wget", "-qO-", where).stdout


def told(live: Live, name: str) -> dict[str, Any]:
    found = live.ask("GET", f"/v1/guests/{name}")[1]["status"]
    assert isinstance(found, dict)
    return found


def frozen(live: Live, guest_id: str) -> bool:
    """As the kernel has it."""
    return Cgroups.detect().frozen(f"/{live.instance.name}/{guest_id}")


def sleeps(live: Live, name: str, guest_id: str) -> bool:
    about = told(live, name)
    return about["state"] == "paused" and about["idle_since"] > 0 and frozen(live, guest_id)


def acts(live: Live, name: str) -> list[tuple[str, str]]:
    changes = live.ask("GET", f"/v1/governor/changes/{name}")[1]
    return [(one["act"], one["reason"]) for one in changes if one["act"] in {"pause", "wake"}]


def test_it_sleeps_when_idle_and_answers_whoever_comes(live: Live) -> None:
    guest = serve(live, "web", *IDLE)
    until(lambda: sleeps(live, "web", guest), "it sleeps", WITHIN)
    assert "(Paused, idle)" in live.wirt("ps").stdout
    assert "root" in get(live, url(live, "web")), "who comes is answered"
    until(lambda: told(live, "web")["state"] == "running", "that is noted")
    until(lambda: ("wake", "traffic") in acts(live, "web"), "and remembered", WITHIN)
    until(lambda: sleeps(live, "web", guest), "it sleeps again", WITHIN)
    why = live.wirt("why", "web").stdout
    assert "paused it: it had nothing to do" in why
    assert re.search(r"woke it: something came for it over the network; .* µs after", why)
    changes = live.ask("GET", "/v1/governor/changes/web")[1]
    after = [one["inputs"]["woken_after_us"] for one in changes if one["reason"] == "traffic"]
    assert after
    assert max(after) < 1e6, "it went on at once, and not when the daemon next looked"
    since = str(time.time() - 60)
    events = live.wirt("events", "--since", since, "--until", "0s", "--format", "json").stdout
    assert '"reason":"traffic"' in events.replace(" ", "")


def test_nobody_else_is_woken_by_it(live: Live) -> None:
    one, other = serve(live, "one", *IDLE), serve(live, "other", *IDLE)
    until(lambda: sleeps(live, "one", one) and sleeps(live, "other", other), "both", WITHIN)
    assert "root" in get(live, url(live, "one"))
    assert sleeps(live, "other", other)


@pytest.mark.parametrize(
    "words",
    [("exec", "web", "true"), ("kill", "-s", "CONT", "web"), ("unpause", "web"),
     ("update", "--idle", "never", "web")],
)  # fmt: skip
def test_a_request_wakes_it(live: Live, words: tuple[str, ...]) -> None:
    guest = serve(live, "web", *IDLE)
    until(lambda: sleeps(live, "web", guest), "it sleeps", WITHIN)
    live.wirt(*words)
    assert not frozen(live, guest)
    assert told(live, "web")["state"] == "running" or words[0] != "update"


def test_who_only_looks_wakes_nobody(live: Live) -> None:
    guest = serve(live, "web", *IDLE)
    until(lambda: sleeps(live, "web", guest), "it sleeps", WITHIN)
    for words in (("logs", "web"), ("inspect", "web"), ("stats", "--no-stream"), ("why", "web")):
        live.wirt(*words)
    assert sleeps(live, "web", guest)


def test_a_pause_of_its_users_stays_one(live: Live) -> None:
    guest = serve(live, "web", *IDLE)
    until(lambda: sleeps(live, "web", guest), "it sleeps", WITHIN)
    live.wirt("pause", "web")
    assert told(live, "web")["idle_since"] == 0
    live.inside("timeout", "1", "busybox", "wget", "-qO-", url(live, "web"))
    assert frozen(live, guest)
    assert "is paused" in live.wirt("exec", "web", "true", code=None).stderr
    live.kill(local.HELPER)
    live.kill(local.DAEMON)
    until(lambda: live.wirt("ps", code=None).returncode == 0, "it is back", WITHIN)
    assert told(live, "web")["state"] == "paused"
    assert frozen(live, guest)
    live.wirt("unpause", "web")
    assert "root" in get(live, url(live, "web"))


def test_it_sleeps_through_a_restart_of_the_daemon(live: Live) -> None:
    guest = serve(live, "web", *IDLE)
    until(lambda: sleeps(live, "web", guest), "it sleeps", WITHIN)
    live.kill(local.DAEMON)
    until(lambda: live.wirt("ps", code=None).returncode == 0, "it is back", WITHIN)
    assert sleeps(live, "web", guest)
    time.sleep(1.5)  # it is taken up at the next tick
    assert sleeps(live, "web", guest), acts(live, "web")
    assert "root" in get(live, url(live, "web"))
    until(lambda: told(live, "web")["state"] == "running", "the new daemon hears of it", WITHIN)


def test_who_comes_while_the_daemon_is_gone_is_answered(live: Live) -> None:
    guest = serve(live, "web", *IDLE)
    until(lambda: sleeps(live, "web", guest), "it sleeps", WITHIN)
    where, daemon = url(live, "web"), live.pid(local.DAEMON)
    os.kill(daemon, signal.SIGSTOP)
    try:
        assert "root" in get(live, where)
        assert not frozen(live, guest)
    finally:
        os.kill(daemon, signal.SIGCONT)
    until(lambda: ("wake", "traffic") in acts(live, "web"), "it hears of it", WITHIN)


def test_nobody_sleeps_whom_the_helper_cannot_hear(live: Live) -> None:
    guest = serve(live, "web", *IDLE)
    until(lambda: sleeps(live, "web", guest), "it sleeps", WITHIN)
    live.kill(local.HELPER)
    until(lambda: not frozen(live, guest), "the next helper thaws it", WITHIN)
    until(lambda: ("wake", "unwatched") in acts(live, "web"), "and it is told why", WITHIN)


def test_its_time_to_wake_comes(live: Live) -> None:
    guest = serve(live, "web", *IDLE, "--wake-every", "10s")
    until(lambda: sleeps(live, "web", guest), "it sleeps", WITHIN)
    began = told(live, "web")["idle_since"] / 1e9
    until(lambda: ("wake", "timer") in acts(live, "web"), "it was woken", 30)
    assert time.time() - began >= 10


def test_its_time_of_day_comes(live: Live) -> None:
    guest = serve(live, "web", *IDLE, "--wake-at", "Mon-Fri 07:45", "--wake-at", "daily 3:00")
    about = live.ask("GET", "/v1/guests/web")[1]["spec"]["idle"]
    assert about["wake_at"] == ["Mon-Fri 07:45", "daily 3:00"]
    until(lambda: sleeps(live, "web", guest), "it sleeps", WITHIN)
    live.kill(local.DAEMON)
    until(lambda: live.wirt("ps", code=None).returncode == 0, "it is back", WITHIN)
    soon = time.strftime("%H:%M", time.localtime(time.time() + 72))
    live.wirt("update", "--wake-at", soon, "web")  # wakes it, too
    until(lambda: sleeps(live, "web", guest), "it sleeps again", WITHIN)
    live.kill(local.DAEMON)
    until(lambda: live.wirt("ps", code=None).returncode == 0, "it is back", WITHIN)
    until(lambda: ("wake", "timer") in acts(live, "web"), "it was woken", 120)
    assert time.strftime("%H:%M") == soon
    live.wirt("update", "--wake-at", "never", "web")
    assert live.ask("GET", "/v1/guests/web")[1]["spec"]["idle"]["wake_at"] == []


def test_what_is_typed_wakes_it(live: Live) -> None:
    live.wirt("create", "-i", "--name", "cat", *IDLE, "busybox", "cat")
    with start("start", "-ai", "cat", socket=live.socket) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        until(lambda: told(live, "cat")["state"] == "running", "it runs", WITHIN)
        guest = live.ask("GET", "/v1/guests/cat")[1]["id"]

        def heard(times: int) -> bool:
            return acts(live, "cat").count(("wake", "input")) == times

        for number, line in enumerate((b"one\n", b"two\n"), 1):
            until(lambda: sleeps(live, "cat", guest), "it sleeps", WITHIN)
            client.stdin.write(line)
            client.stdin.flush()
            assert client.stdout.readline() == line
            until(partial(heard, number), "it is told", WITHIN)
        assert "something was typed into it" in live.wirt("why", "cat").stdout
        until(lambda: sleeps(live, "cat", guest), "it sleeps", WITHIN)
        client.stdin.close()
        assert client.wait(WITHIN) == 0, "the end of its input wakes it, too"


def test_who_attaches_to_its_terminal_wakes_it(live: Live) -> None:
    guest = live.wirt("run", "-dit", "--name", "sh", *IDLE, "busybox", "sh").stdout.strip()
    until(lambda: sleeps(live, "sh", guest), "it sleeps", WITHIN)
    with Terminal("attach", "sh", socket=live.socket) as terminal:
        terminal.press(b"echo $((6 * 7))\r")
        terminal.wait_for(b"\r\n42\r\n")
        until(lambda: sleeps(live, "sh", guest), "it sleeps while somebody is attached", WITHIN)
        terminal.press(b"echo $((6 * 8)); exit 9\r")
        terminal.wait_for(b"\r\n48\r\n")
        assert terminal.end() == 9


def test_a_boost_wakes_it(live: Live) -> None:
    guest = serve(live, "web", *IDLE)
    until(lambda: sleeps(live, "web", guest), "it sleeps", WITHIN)
    live.wirt("boost", "web", "--for", "1m", "--cpu", "2x")
    until(lambda: ("wake", "boost") in acts(live, "web"), "it was woken", WITHIN)
    live.wirt("unboost", "web", code=None)


def test_nobody_sleeps_while_the_governor_rests(live: Live) -> None:
    guest = serve(live, "web", *IDLE)
    until(lambda: sleeps(live, "web", guest), "it sleeps", WITHIN)
    live.wirt("governor", "pause")
    try:
        until(lambda: told(live, "web")["state"] == "running", "it is woken", WITHIN)
        assert not frozen(live, guest)
    finally:
        live.wirt("governor", "resume")


def test_a_guest_at_work_stays_awake(live: Live) -> None:
    live.wirt("run", "-d", "--name", "busy", *IDLE, "busybox", "sh", "-c", "while :; do :; done")
    live.wirt("run", "-d", "--name", "plain", "busybox", "sleep", "1000")
    live.wirt("run", "-d", "--name", "used", *IDLE, "busybox", "sleep", "1000")
    live.wirt("exec", "-d", "used", "sleep", "1000")
    time.sleep(4)
    assert {told(live, name)["state"] for name in ("busy", "plain", "used")} == {"running"}


def test_a_group_may_say_it_for_its_guests(live: Live, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[idle]\nafter = '1s'\n[idle.groups]\noffice = 'pause'\n")
    live.wirt("group", "create", "office")
    live.wirt("group", "create", "office/print")
    live.wirt("governor", "policy", "set", str(policy))
    try:
        guest = serve(live, "web", "--group", "office/print")
        until(lambda: sleeps(live, "web", guest), "it sleeps", WITHIN)
        assert "root" in get(live, url(live, "web"))
    finally:
        live.wirt("governor", "policy", "unset")
        live.wirt("rm", "-f", "web")
        for name in ("office/print", "office"):
            live.wirt("group", "rm", name)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--idle", "pause", "--network", "host"), "not --network host"),
        (("--idle", "sometimes"), "sometimes"),
        (("--idle-after", "0"), "--idle-after 0s is out of range"),
        (("--wake-every", "1s"), "--wake-every 1s is out of range"),
        (("--wake-at", "soon"), "invalid time to wake a guest 'soon'"),
        (("--wake-at", "Mon 07:45-09:30"), "invalid time to wake"),
        (("--idle-after", "soon"), "soon"),
    ],
)
def test_what_cannot_be_is_refused(live: Live, flags: tuple[str, ...], said: str) -> None:
    done = live.wirt("create", *flags, "busybox", "true", code=None)
    assert done.returncode != 0
    assert said in done.stderr
    assert "hint" in done.stderr


def test_a_policy_that_cannot_be_is_refused(live: Live, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    for text in ("[idle]\nafter = 'soon'\n", "[idle]\nnormal = 'off'\n", "[idle]\nwhen = 1\n"):
        policy.write_text(text)
        assert live.wirt("governor", "policy", "set", str(policy), code=None).returncode != 0


def test_top_tells_who_sleeps_and_who_is_minimal(live: Live, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[idle]\nafter = '1s'\n")
    live.wirt("governor", "policy", "set", str(policy))
    try:
        serve(live, "web")
        until(lambda: _states(live).get("web") == "minimal", "it is minimal", WITHIN)
        assert "root" in get(live, url(live, "web"))
    finally:
        live.wirt("governor", "policy", "unset")


def _states(live: Live) -> dict[str, str]:
    lines = live.wirt("top", "--json", "--once").stdout.splitlines()
    guests = json.loads(lines[-1])["guests"] if lines else []
    return {one["name"]: one["state"] for one in guests}
