"""A guest's life as its user sees it: run, look, stop, remove; exit codes and streams."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from live import Live
from waiting import PATIENCE


def eventually(what: Callable[[], object], *, within: float = PATIENCE) -> None:
    """Wait until ``what()`` is true; fail after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not what():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def inspect(live: Live, guest: str) -> dict[str, object]:
    found: dict[str, object] = live.ask("GET", f"/v1/guests/{guest}")[1]
    return found


def state(live: Live, guest: str) -> str:
    status = inspect(live, guest)["status"]
    assert isinstance(status, dict)
    return str(status["state"])


def test_run_keeps_the_streams_apart_and_passes_the_exit_code(shared_instance: Live) -> None:
    done = shared_instance.wirt(
        "run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", code=7
    )
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert shared_instance.wirt("ps", "-aq").stdout == ""


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("nosuchcommand",), 127, "nosuchcommand"),
        (("/etc/passwd",), 126, "denied"),
        (("sh", "-c", "sh -c 'kill -9 $$'; exit $?"), 137, ""),
    ],
)
def test_exit_codes_of_what_cannot_run(
    shared_instance: Live, words: tuple[str, ...], code: int, text: str
) -> None:
    done = shared_instance.wirt("run", "--rm", "busybox", *words, code=code)
    assert text in done.stderr
    assert shared_instance.wirt("ps", "-aq").stdout == ""


def test_an_image_that_is_not_there_is_named(shared_instance: Live) -> None:
    done = shared_instance.wirt("run", "--rm", "nosuchimage", "true", code=125)
    assert "nosuchimage" in done.stderr


def test_standard_input_ends_when_the_client_closes_it(shared_instance: Live) -> None:
    done = shared_instance.wirt("run", "--rm", "-i", "busybox", "wc", "-c", feed="x" * 100_000)
    assert done.stdout.strip() == "100000"


def test_a_detached_guest_is_listed_executed_in_logged_stopped_and_removed(
    shared_instance: Live,
) -> None:
    live = shared_instance
    guest = live.wirt(
        "run", "-d", "--name", "tour", "busybox", "sh", "-c",
        "trap 'echo bye; exit 3' TERM; echo begun; while :; do sleep 0.1; done",
    ).stdout.strip()  # fmt: skip
    try:
        assert len(guest) == 64
        rows = json.loads(live.wirt("ps", "--format", "json").stdout.splitlines()[0])
        assert "tour" in str(rows)
        assert live.wirt("exec", "tour", "cat", "/proc/1/comm").stdout == "sh\n"
        live.wirt("exec", "tour", "sh", "-c", "exit 9", code=9)
        live.wirt("exec", "tour", "nosuchcommand", code=127)
        eventually(lambda: live.wirt("logs", "tour").stdout == "begun\n")
        live.wirt("stop", "tour")
        assert state(live, "tour") == "exited"
        assert live.wirt("wait", "tour").stdout == "3\n"
        assert live.wirt("logs", "tour").stdout == "begun\nbye\n"
        live.wirt("start", "tour")
        assert state(live, "tour") == "running"
        live.wirt("rm", "tour", code=4)
    finally:
        live.wirt("rm", "-f", "tour")
    live.wirt("inspect", "tour", code=3)


def test_a_restart_keeps_a_guest_that_goes_at_its_end(shared_instance: Live) -> None:
    live = shared_instance
    guest = live.wirt("run", "-d", "--rm", "--name", "once", "busybox", "sleep", "1000").stdout
    try:
        live.wirt("restart", "-t", "0", "once")
        assert (state(live, "once"), inspect(live, "once")["id"]) == ("running", guest.strip())
        live.wirt("stop", "-t", "0", "once")
        live.wirt("inspect", "once", code=3)
    finally:
        live.wirt("rm", "-f", "once", code=None)


def test_pause_and_unpause(shared_instance: Live) -> None:
    live = shared_instance
    live.wirt("run", "-d", "--name", "frozen", "busybox", "sleep", "1000")
    try:
        live.wirt("pause", "frozen")
        assert state(live, "frozen") == "paused"
        live.wirt("exec", "frozen", "true", code=125)
        live.wirt("unpause", "frozen")
        assert state(live, "frozen") == "running"
        assert live.wirt("exec", "frozen", "echo", "awake").stdout == "awake\n"
    finally:
        live.wirt("rm", "-f", "frozen")


def test_a_failing_guest_is_restarted_as_often_as_asked(shared_instance: Live) -> None:
    live = shared_instance
    live.wirt(
        "run", "-d", "--name", "again", "--restart", "on-failure:2", "busybox", "sh", "-c",
        "echo try; exit 5",
    )  # fmt: skip
    try:
        eventually(lambda: live.wirt("logs", "again").stdout == "try\ntry\ntry\n")
        eventually(lambda: state(live, "again") == "exited")
        status = inspect(live, "again")["status"]
        assert isinstance(status, dict)
        assert (status["exit_code"], status["restart_count"]) == (5, 2)
    finally:
        live.wirt("rm", "-f", "again")


def test_health_is_checked_and_shown(shared_instance: Live) -> None:
    live = shared_instance
    live.wirt(
        "run", "-d", "--name", "well", "--health-cmd", "test -f /well",
        "--health-interval", "100ms", "--health-retries", "2", "busybox", "sleep", "1000",
    )  # fmt: skip
    try:
        eventually(lambda: "(unhealthy)" in live.wirt("ps").stdout)
        live.wirt("exec", "well", "touch", "/well")
        eventually(lambda: "(healthy)" in live.wirt("ps").stdout)
    finally:
        live.wirt("rm", "-f", "well")


def test_names_are_unique_and_can_change(shared_instance: Live) -> None:
    live = shared_instance
    live.wirt("create", "--name", "one", "busybox", "true")
    try:
        done = live.wirt("create", "--name", "one", "busybox", "true", code=125)
        assert "already in use" in done.stderr
        live.wirt("rename", "one", "two")
        assert state(live, "two") == "created"
        live.wirt("inspect", "one", code=3)
    finally:
        live.wirt("rm", "-f", "two")


def test_events_tell_the_whole_story_in_order(shared_instance: Live) -> None:
    live = shared_instance
    since = f"{time.time():.9f}"
    live.wirt("run", "--rm", "--name", "story", "busybox", "false", code=1)
    done = live.wirt(
        "events", "--since", since, "--until", f"{time.time():.9f}", "--format", "json"
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    actions = [event["action"] for event in events if event["type"] == "guest"]
    assert [a for a in actions if a in {"create", "start", "die", "destroy"}] == [
        "create", "start", "die", "destroy",
    ]  # fmt: skip
    died = next(event for event in events if event["action"] == "die")
    assert died["attributes"]["exitCode"] == "1"


def test_the_api_describes_itself(shared_instance: Live) -> None:
    status, document = shared_instance.ask("GET", "/v1/openapi.json")
    assert status == 200
    assert document["openapi"] == "3.1.0"
    assert "post" in document["paths"]["/v1/guests"]
