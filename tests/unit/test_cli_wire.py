"""What goes wrong between client and daemon, ``exec``, and verbs over several names."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.daemon import Exchange, FakeDaemon, frame
from fakes.guest import GUEST, Script
from fakes.terminal import start, wirt


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "s") as made:
        yield made


@pytest.fixture
def script(daemon: FakeDaemon) -> Script:
    return Script(daemon)


def test_no_daemon(tmp_path: Path) -> None:
    done = wirt("run", "x", socket=tmp_path / "none")
    assert done.code == 125
    assert done.err.startswith(f"wirt: no daemon answers on {tmp_path}/none\nhint: ")
    assert wirt("ps", socket=tmp_path / "none").code == 8


def test_a_daemon_that_breaks_off(daemon: FakeDaemon) -> None:
    daemon.routes["GET /v1/guests"] = lambda x: x.connection.shutdown(socket.SHUT_RDWR)
    done = wirt("ps", socket=daemon.path)
    assert done.code == 8
    assert "broke off" in done.err


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]xx\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{\xff\xfe}x",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 500 OK\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n[1] 2 ",
    ],
)
def test_nonsense_is_no_traceback(daemon: FakeDaemon, bytes_sent: bytes) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.connection.sendall(bytes_sent)
        exchange.connection.shutdown(socket.SHUT_WR)

    daemon.routes["GET /v1/guests"] = answer
    done = wirt("ps", socket=daemon.path)
    assert done.code in {8, 70}
    assert done.err.startswith("wirt: ")
    assert "Traceback" not in done.err


def test_exec_prints_and_exits_as_the_command(script: Script) -> None:
    routes = script.daemon.routes
    routes["POST /v1/guests/web/exec"] = lambda x: x.answer({"id": "e1"}, status=201)

    def stream(exchange: Exchange) -> None:
        raw = exchange.upgrade(frame(1, b"early "))
        raw.sendall(frame(1, b"late\n") + frame(2, b"err\n"))
        raw.shutdown(socket.SHUT_WR)

    routes["POST /v1/exec/e1/start"] = stream
    routes["POST /v1/exec/e1/wait"] = lambda x: x.answer({"code": 3})
    done = wirt(
        "exec",
        "-e",
        "A=1",
        "-u",
        "root",
        "-w",
        "/",
        "web",
        "sh",
        "-c",
        "x",
        socket=script.daemon.path,
    )
    assert (done.code, done.text, done.err) == (3, "early late\n", "err\n")
    assert script.daemon.requests[0].json == {
        "command": ["sh", "-c", "x"],
        "env": ["A=1"],
        "user": "root",
        "working_dir": "/",
    }


def test_exec_detached_and_refused(script: Script) -> None:
    routes = script.daemon.routes
    routes["POST /v1/guests/web/exec"] = lambda x: x.answer({"id": "e1"}, status=201)
    routes["POST /v1/exec/e1/start"] = lambda x: x.answer(status=204)
    done = wirt("exec", "-d", "web", "true", socket=script.daemon.path)
    assert (done.code, done.text) == (0, "e1\n")
    assert script.daemon.last("POST /v1/exec/e1/start").one("detach") == "1"
    routes["POST /v1/exec/e1/start"] = lambda x: x.problem(
        "invalid", "no such file", status=400, exit=127
    )
    assert wirt("exec", "web", "nope", socket=script.daemon.path).code == 127
    routes["POST /v1/guests/web/exec"] = lambda x: x.problem("conflict", "it stopped", status=409)
    assert wirt("exec", "web", "true", socket=script.daemon.path).code == 125


def test_a_terminal_is_refused_where_there_is_none(script: Script) -> None:
    for words in (["run", "-it", "x"], ["exec", "-it", "x", "sh"]):
        done = wirt(*words, socket=script.daemon.path)
        assert (done.code, script.daemon.asked()) == (125, [])
        assert "not a terminal" in done.err


def test_bytes_that_are_no_text_are_refused(script: Script) -> None:
    done = wirt("run", "x", "\udcff", socket=script.daemon.path)
    assert done.code == 125
    assert "UTF-8" in done.err
    assert script.daemon.asked() == []


def test_cidfile(script: Script, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    assert wirt("run", "-d", "--cidfile", str(file), "x", socket=script.daemon.path).code == 0
    assert file.read_text() == GUEST
    again = wirt("run", "-d", "--cidfile", str(file), "x", socket=script.daemon.path)
    assert (again.code, len(script.daemon.requests)) == (125, 2)
    assert str(file) in again.err


def test_several_names_are_each_tried(script: Script) -> None:
    routes = script.daemon.routes
    routes["POST /v1/guests/a/stop"] = lambda x: x.answer(status=204)
    routes["POST /v1/guests/b/stop"] = lambda x: x.problem("not-found", "no guest 'b'", status=404)
    routes["POST /v1/guests/c/stop"] = lambda x: x.answer(status=304)
    done = wirt("stop", "-t", "3", "a", "b", "c", socket=script.daemon.path)
    assert (done.code, done.text, done.err) == (3, "a\nc\n", "wirt: no guest 'b'\n")
    assert script.daemon.last("POST /v1/guests/a/stop").query == [("timeout", "3")]


def test_wait_prints_codes(script: Script) -> None:
    script.code = 5
    script.over.set()
    script.daemon.routes["POST /v1/guests/a/wait"] = script.wait
    assert wirt("wait", "a", socket=script.daemon.path).text == "5\n"


def test_a_daemon_that_restarts_during_an_exec_is_asked_again(script: Script) -> None:
    daemon = script.daemon
    streams: list[socket.socket] = []
    daemon.routes["POST /v1/guests/web/exec"] = lambda x: x.answer({"id": "e1"}, status=201)
    daemon.routes["POST /v1/exec/e1/wait"] = lambda x: x.answer({"code": 3})

    def stream(exchange: Exchange) -> None:
        streams.append(exchange.connection)  # before the client can see an answer
        exchange.upgrade(frame(1, b"ready\n"))
        script.over.wait(10)
        streams[0].shutdown(socket.SHUT_WR)

    daemon.routes["POST /v1/exec/e1/start"] = stream
    with start("exec", "web", "true", socket=daemon.path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        daemon.stop(keep=(streams[0],))
        script.over.set()
        daemon.restart()
        assert process.wait(10) == 3
