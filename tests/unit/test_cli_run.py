"""``run``, ``exec``, ``start`` and friends against a scripted daemon, as real processes."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.daemon import Exchange, FakeDaemon, frame
from fakes.guest import GUEST, ROUTE, Script
from fakes.terminal import argv, environment, start, wirt
from waiting import PATIENCE


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "s") as made:
        yield made


@pytest.fixture
def script(daemon: FakeDaemon) -> Script:
    return Script(daemon)


def test_output_is_split_and_the_code_is_the_guests(script: Script) -> None:
    script.output = frame(1, b"out\n") + frame(2, b"err\n") + frame(1, b"\0\xff")
    script.code = 42
    done = wirt("run", "busybox", "true", socket=script.daemon.path)
    assert (done.code, done.out, done.err) == (42, b"out\n\0\xff", "err\n")


def test_attach_and_wait_stand_before_the_start(script: Script) -> None:
    wirt("run", "--rm", "busybox", socket=script.daemon.path)
    asked = script.daemon.asked()
    assert asked[0] == "POST /v1/guests"
    assert set(asked[1:3]) == {f"POST {ROUTE}/attach", f"POST {ROUTE}/wait"}
    assert asked[3] == f"POST {ROUTE}/start"
    assert script.daemon.last(f"POST {ROUTE}/wait").one("condition") == "removed"
    attach = script.daemon.last(f"POST {ROUTE}/attach")
    assert attach.headers["upgrade"] == "tcp"
    assert attach.query == [("stdin", "0"), ("stdout", "1"), ("stderr", "1")]


def test_without_rm_the_wait_is_for_the_next_exit(script: Script) -> None:
    wirt("run", "--name", "a b", "busybox", socket=script.daemon.path)
    assert script.daemon.last(f"POST {ROUTE}/wait").one("condition") == "next-exit"
    assert script.daemon.requests[0].one("name") == "a b"


def test_detached_prints_the_id_and_does_not_attach(script: Script) -> None:
    done = wirt("run", "-d", "busybox", socket=script.daemon.path)
    assert (done.code, done.text) == (0, GUEST + "\n")
    assert script.daemon.asked() == ["POST /v1/guests", f"POST {ROUTE}/start"]
    assert "stdin_once" not in script.daemon.requests[0].json


def test_stdin_is_sent_and_its_end_is_told(script: Script) -> None:
    data = bytes(range(256)) * 4000
    done = wirt("run", "-i", "busybox", "cat", socket=script.daemon.path, stdin=data)
    assert done.out == b"bye\n"
    assert script.received == data
    assert script.half_closed.is_set()
    assert script.daemon.requests[0].json["stdin_once"] is True


def test_without_i_stdin_is_left_alone(script: Script) -> None:
    done = wirt("run", "busybox", "cat", socket=script.daemon.path, stdin=b"x")
    assert (done.code, script.received) == (0, b"")


def test_warnings_are_talk(script: Script) -> None:
    script.daemon.routes["POST /v1/guests"] = lambda x: x.answer(
        {"id": GUEST, "name": "n", "warnings": ["no \x1b[31mswap\x1b[0m here"]}, status=201
    )
    done = wirt("run", "-d", "x", socket=script.daemon.path)
    assert done.text == GUEST + "\n"
    assert done.err == "warning: no \\x1b[31mswap\\x1b[0m here\n"


@pytest.mark.parametrize(
    ("told", "code"), [(127, 127), (126, 126), (125, 125), (None, 125), (0, 125)]
)
def test_a_failed_start_exits_as_docker(script: Script, told: int | None, code: int) -> None:
    facts = {} if told is None else {"exit": told}
    script.daemon.routes[f"POST {ROUTE}/start"] = lambda x: x.problem(
        "invalid", "exec: 'nope': not found", status=400, hint="is it in the image?", **facts
    )
    done = wirt("run", "x", "nope", socket=script.daemon.path)
    assert done.code == code
    assert done.err == "wirt: exec: 'nope': not found\nhint: is it in the image?\n"
    script.begin.set()
    script.over.set()


def test_a_refused_create_exits_125(script: Script) -> None:
    script.daemon.routes["POST /v1/guests"] = lambda x: x.problem(
        "not-found", "no image 'x'", status=404
    )
    done = wirt("run", "x", socket=script.daemon.path)
    assert (done.code, done.err) == (125, "wirt: no image 'x'\n")


def test_an_error_of_the_guest_is_told(script: Script) -> None:
    script.error = "the keeper was lost"
    done = wirt("run", "x", socket=script.daemon.path)
    assert (done.code, done.err) == (125, "wirt: the keeper was lost\n")


def test_signals_go_to_the_guest(script: Script) -> None:
    script.hold = True
    script.code = 130
    script.output = frame(1, b"ready\n")
    process = start("run", "x", socket=script.daemon.path)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(2)
    assert process.wait(10) == 130
    process.communicate()
    assert script.daemon.last(f"POST {ROUTE}/kill").one("signal") == "INT"


def test_without_the_proxy_a_signal_ends_the_client_only(script: Script) -> None:
    script.hold = True
    script.output = frame(1, b"ready\n")
    process = start("run", "--sig-proxy=false", "x", socket=script.daemon.path)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(15)
    assert process.wait(10) == 143
    process.communicate()
    assert f"POST {ROUTE}/kill" not in script.daemon.asked()
    script.over.set()


def test_a_signal_before_the_start_is_kept_until_then(script: Script) -> None:
    reached, go = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        reached.set()
        go.wait(10)
        script.start(exchange)

    script.hold = True
    script.daemon.routes[f"POST {ROUTE}/start"] = slow
    process = start("run", "x", socket=script.daemon.path)
    assert reached.wait(10)
    process.send_signal(15)
    assert f"POST {ROUTE}/kill" not in script.daemon.asked()
    go.set()
    process.wait(10)
    process.communicate()
    asked = script.daemon.asked()
    assert asked.index(f"POST {ROUTE}/kill") > asked.index(f"POST {ROUTE}/start")
    assert script.daemon.last(f"POST {ROUTE}/kill").one("signal") == "TERM"


def test_a_closed_reader_ends_the_client_like_sigpipe(script: Script) -> None:
    script.hold = True
    script.output = frame(1, b"x" * 60_000) * 100
    process = start("run", "x", socket=script.daemon.path)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(10) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.stdin is not None
    process.stdin.close()
    script.over.set()


@pytest.mark.parametrize("command", [("run", "busybox"), ("logs", "web"), ("ps",)])
def test_a_full_disk_below_the_output_is_no_fault_of_the_daemon(
    script: Script, command: tuple[str, ...]
) -> None:
    script.output = frame(1, b"words\n")
    script.daemon.routes["GET /v1/guests/web"] = lambda x: x.answer({"spec": {"tty": False}})
    script.daemon.routes["GET /v1/guests/web/logs"] = lambda x: x.answer(script.output)
    script.daemon.routes["GET /v1/guests"] = lambda x: x.answer([])
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            argv(command), env=environment(script.daemon.path), stdout=full,
            stderr=subprocess.PIPE, check=False, timeout=PATIENCE,
        )  # fmt: skip
    assert done.stderr.decode() == "wirt: standard output: No space left on device\n"
    assert done.returncode == (125 if command[0] == "run" else 1)


def test_the_daemon_restarts_while_attached(script: Script) -> None:
    """The stream belongs to the keeper and goes on; the wait is asked again."""
    daemon = script.daemon
    streams: list[socket.socket] = []
    finished = threading.Event()

    def attach(exchange: Exchange) -> None:
        streams.append(exchange.upgrade())
        script.begin.wait(10)
        exchange.connection.sendall(frame(1, b"before\n"))
        finished.wait(10)
        exchange.connection.sendall(frame(1, b"after\n"))
        exchange.connection.shutdown(socket.SHUT_WR)

    daemon.routes[f"POST {ROUTE}/attach"] = attach
    process = start("run", "x", socket=daemon.path)
    assert process.stdout is not None
    assert process.stdout.readline() == b"before\n"
    daemon.stop(keep=(streams[0],))
    finished.set()
    assert process.stdout.readline() == b"after\n"
    script.over.set()
    script.code = 7
    daemon.restart()
    assert process.wait(10) == 7
    process.communicate()
    assert daemon.last(f"POST {ROUTE}/wait").one("condition") == "not-running"


def test_the_guest_was_removed_while_the_daemon_restarted(script: Script) -> None:
    """With --rm nobody is left to ask: the event of its end tells the code."""
    daemon = script.daemon
    streams: list[socket.socket] = []

    def attach(exchange: Exchange) -> None:
        streams.append(exchange.upgrade())
        script.begin.wait(10)
        exchange.connection.sendall(frame(1, b"ready\n"))
        script.over.wait(10)
        exchange.connection.shutdown(socket.SHUT_WR)

    daemon.routes[f"POST {ROUTE}/attach"] = attach
    process = start("run", "--rm", "x", socket=daemon.path)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    daemon.stop(keep=(streams[0],))
    script.over.set()
    daemon.routes[f"POST {ROUTE}/wait"] = lambda x: x.problem("not-found", "no guest", status=404)
    daemon.routes["GET /v1/events"] = lambda x: x.answer(
        b'{"type":"guest","action":"die","subject":"other","attributes":{"exitCode":"1"}}\n'
        + b'{"type":"guest","action":"die","subject":"%s","attributes":{"exitCode":"9"}}\n'
        % GUEST.encode()
    )
    daemon.restart()
    assert process.wait(10) == 9
    process.communicate()


@pytest.mark.parametrize("words", [("run", "--rm"), ("run", "--rm", "-d")])
def test_a_start_that_nobody_saw_leaves_no_guest_that_was_to_vanish(
    script: Script, words: tuple[str, ...]
) -> None:
    daemon = script.daemon

    def start(exchange: Exchange) -> None:
        daemon.stop()
        script.begin.set()
        script.over.set()
        threading.Timer(0.3, daemon.restart).start()

    daemon.routes[f"POST {ROUTE}/start"] = start
    daemon.routes[f"DELETE {ROUTE}"] = lambda x: x.answer(status=204)
    done = wirt(*words, "x", socket=daemon.path)
    assert done.code == 125
    assert daemon.last(f"DELETE {ROUTE}").query == [("force", "1"), ("volumes", "1")]


def test_a_guest_that_stays_is_left_when_nobody_saw_its_start(script: Script) -> None:
    script.daemon.routes[f"POST {ROUTE}/start"] = lambda x: x.connection.shutdown(socket.SHUT_RDWR)
    assert wirt("run", "-d", "x", socket=script.daemon.path).code == 125
    assert f"DELETE {ROUTE}" not in script.daemon.asked()


def test_hundred_megabytes_of_output_flow(script: Script) -> None:
    size = 100_000_000
    piece = frame(1, b"x" * 65_536)
    sent = 0

    def attach(exchange: Exchange) -> None:
        nonlocal sent
        stream = exchange.upgrade()
        script.begin.wait(10)
        while sent < size:
            stream.sendall(piece)
            sent += 65_536
        stream.shutdown(socket.SHUT_WR)
        script.over.set()

    script.daemon.routes[f"POST {ROUTE}/attach"] = attach
    process = start("run", "x", socket=script.daemon.path)
    assert process.stdout is not None
    got = 0
    while data := process.stdout.read(1 << 20):
        got += len(data)
    assert process.wait(10) == 0
    process.communicate()
    assert got == sent


def test_idle_client_does_not_spin(script: Script) -> None:
    """With stdin at its end and nothing to read, the pump sleeps in poll."""
    script.hold = True

    def attach(exchange: Exchange) -> None:
        stream = exchange.upgrade()
        script.begin.wait(10)
        stream.recv(10)
        stream.sendall(frame(1, b"ready\n"))
        script.over.wait(10)
        stream.shutdown(socket.SHUT_WR)

    script.daemon.routes[f"POST {ROUTE}/attach"] = attach
    process = start("run", "-i", "x", socket=script.daemon.path)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    assert process.stdout.readline() == b"ready\n"

    def ticks() -> int:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(0.3)
    assert ticks() - before < 10
    script.over.set()
    assert process.wait(10) == 0
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()
