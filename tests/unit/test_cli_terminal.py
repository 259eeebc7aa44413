"""Interactive use on a pseudo terminal: raw mode and its end, window size, detach keys."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.daemon import Exchange, FakeDaemon
from fakes.guest import GUEST, ROUTE, Script
from fakes.terminal import Terminal
from wirt.cli.terminal import detach_keys
from wirt.errors import Invalid


class Shell(Script):
    """A guest with a terminal that echoes what is typed, until ``q`` or the detach keys."""

    def __init__(self, daemon: FakeDaemon) -> None:
        super().__init__(daemon)
        self.sizes: list[tuple[str, str]] = []
        self.sized = threading.Condition()
        self.state = "running"
        daemon.routes[f"POST {ROUTE}/resize"] = self.resize
        daemon.routes[f"GET {ROUTE}"] = lambda x: x.answer(
            {
                "id": GUEST,
                "status": {"state": self.state},
                "spec": {"tty": True, "stdin_open": True},
            }
        )

    def attach(self, exchange: Exchange) -> None:
        stream = exchange.upgrade()
        self.begin.wait(10)
        stream.sendall(b"$ ")
        while (data := stream.recv(100)) and b"q" not in data and not data.endswith(b"\x11"):
            self.received += data
            stream.sendall(b"<" + data + b">")
        self.received += data
        stream.shutdown(socket.SHUT_WR)
        if not data.endswith(b"\x11"):
            self.over.set()

    def resize(self, exchange: Exchange) -> None:
        with self.sized:
            request = exchange.request
            self.sizes.append((request.one("rows") or "", request.one("columns") or ""))
            self.sized.notify_all()
        exchange.answer(status=204)

    def wait_for_size(self, rows: str, columns: str) -> None:
        with self.sized:
            assert self.sized.wait_for(lambda: (rows, columns) in self.sizes, 10), self.sizes


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with FakeDaemon(tmp_path / "s") as daemon:
        made = Shell(daemon)
        yield made
        made.over.set()


def test_keys_are_raw_and_the_terminal_is_restored(shell: Shell) -> None:
    shell.code = 4
    with Terminal("run", "-it", "x", socket=shell.daemon.path) as terminal:
        terminal.wait_for(b"$ ")
        assert terminal.is_raw()
        terminal.press(b"\x03\x04\x1a\r")
        terminal.wait_for(b"<\x03\x04\x1a\r>")
        terminal.press(b"q")
        assert terminal.end() == 4
        assert terminal.mode() == terminal.before
    assert shell.daemon.requests[0].json["tty"] is True


def test_the_window_size_is_told_at_the_start_and_when_it_changes(shell: Shell) -> None:
    with Terminal("run", "-it", "x", socket=shell.daemon.path, rows=30, columns=100) as terminal:
        terminal.wait_for(b"$ ")
        shell.wait_for_size("30", "100")
        terminal.resize(50, 132)
        shell.wait_for_size("50", "132")
        terminal.press(b"q")
        assert terminal.end() == 0
    asked = shell.daemon.asked()
    assert asked.index(f"POST {ROUTE}/resize") > asked.index(f"POST {ROUTE}/start")


def test_detach_keys_leave_the_guest_running(shell: Shell) -> None:
    with Terminal("run", "-it", "x", socket=shell.daemon.path) as terminal:
        terminal.wait_for(b"$ ")
        terminal.press(b"\x10")
        terminal.press(b"\x11")
        assert terminal.end() == 0
        assert terminal.mode() == terminal.before
    assert shell.received.endswith(b"\x10\x11")
    assert not shell.over.is_set()


def test_own_detach_keys_are_passed_on(shell: Shell) -> None:
    words = ("run", "-it", "--detach-keys", "ctrl-x,ctrl-q", "x")
    with Terminal(*words, socket=shell.daemon.path) as terminal:
        terminal.wait_for(b"$ ")
        terminal.press(b"\x18\x11")
        assert terminal.end() == 0
    attach = shell.daemon.last(f"POST {ROUTE}/attach")
    assert attach.one("detach_keys") == "ctrl-x,ctrl-q"


def test_a_guest_that_ended_with_the_detach_keys_has_its_code(shell: Shell) -> None:
    shell.state = "exited"
    shell.code = 6
    with Terminal("run", "-it", "x", socket=shell.daemon.path) as terminal:
        terminal.wait_for(b"$ ")
        shell.over.set()
        terminal.press(b"\x10\x11")
        assert terminal.end() == 6


def test_a_hang_up_ends_the_client_not_the_guest(shell: Shell) -> None:
    with Terminal("run", "-it", "x", socket=shell.daemon.path) as terminal:
        terminal.wait_for(b"$ ")
        terminal.process.send_signal(signal.SIGHUP)
        assert terminal.end() == 129
        assert terminal.mode() == terminal.before
    assert f"POST {ROUTE}/kill" not in shell.daemon.asked()


def test_a_failed_start_restores_the_terminal(shell: Shell) -> None:
    shell.daemon.routes[f"POST {ROUTE}/start"] = lambda x: x.problem(
        "invalid", "not found", status=400, exit=127
    )
    with Terminal("run", "-it", "x", socket=shell.daemon.path) as terminal:
        assert terminal.end() == 127
        assert terminal.mode() == terminal.before
        terminal.wait_for(b"wirt: not found\r\n")
    shell.begin.set()
    shell.over.set()


def test_attach_and_start_join_a_terminal(shell: Shell) -> None:
    shell.begin.set()
    shell.daemon.routes["GET /v1/guests/web"] = shell.daemon.routes[f"GET {ROUTE}"]
    for words in (["attach", "web"], ["start", "-ai", "web"]):
        shell.over.clear()
        with Terminal(*words, socket=shell.daemon.path) as terminal:
            terminal.wait_for(b"$ ")
            assert terminal.is_raw()
            terminal.press(b"q")
            assert terminal.end() == 0
            assert terminal.mode() == terminal.before
    conditions = [r.one("condition") for r in shell.daemon.requests if r.path.endswith("/wait")]
    assert conditions == ["not-running", "next-exit"]


def test_exec_has_a_terminal_too(shell: Shell) -> None:
    shell.begin.set()
    routes = shell.daemon.routes
    routes["POST /v1/guests/web/exec"] = lambda x: x.answer({"id": "e"}, status=201)
    routes["POST /v1/exec/e/start"] = shell.attach
    routes["POST /v1/exec/e/wait"] = lambda x: x.answer({"code": 2})
    routes["POST /v1/exec/e/resize"] = shell.resize
    with Terminal("exec", "-it", "web", "sh", socket=shell.daemon.path) as terminal:
        terminal.wait_for(b"$ ")
        assert terminal.is_raw()
        terminal.resize(10, 20)
        shell.wait_for_size("10", "20")
        terminal.press(b"q")
        assert terminal.end() == 2
        assert terminal.mode() == terminal.before
    spec = shell.daemon.requests[0].json
    assert (spec["rows"], spec["columns"], spec["tty"], spec["stdin"]) == (24, 80, True, True)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("a", b"a"),
        ("ctrl-a,a,A", b"\x01aA"),
        ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x00\x1b\x1c\x1d\x1e\x1f"),
        ("ctrl-Z", b"\x1a"),
    ],
)
def test_detach_key_forms(text: str, keys: bytes) -> None:
    assert detach_keys(text) == keys


@pytest.mark.parametrize(
    "text", ["", ",", "ctrl-", "ctrl-1", "ctrl-pq", "ab", "é", "shift-a", "a,"]
)
def test_wrong_detach_keys(text: str) -> None:
    with pytest.raises(Invalid, match="detach keys"):
        detach_keys(text)
