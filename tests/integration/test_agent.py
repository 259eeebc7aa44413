"""The agent as an ordinary program under the sanitizers: what a keeper may say to it, and must not.

Without being process 1 it mounts nothing and switches nothing off; everything else is the same.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from needs import NATIVE, needs
from wirt.guest.frame import decode_record, encode_record, record_frames

pytestmark = needs("root", "agent-sanitized")
HELLO, STARTED, DATA, EOF, EXIT, ERROR, CREDIT = 20, 21, 22, 23, 24, 25, 26
CONFIG, SPAWN, SIGNAL, RESIZE, CALL, RESULT = 30, 31, 32, 33, 34, 35
START_CREDIT = 262_144


def frame(kind: int, channel: int, payload: bytes = b"", *, flags: int = 0) -> bytes:
    return struct.pack(">IBBHI", len(payload), kind, flags, 0, channel) + payload


class Agent:
    """Its process and our end of the link. It is sent what a test likes."""

    def __init__(self, process: subprocess.Popen[bytes], link: socket.socket) -> None:
        self.process = process
        self._link = link
        self._have = b""

    def send(self, data: bytes) -> None:
        # An agent that hung up has judged what it read so far.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._link.sendall(data)

    def record(self, kind: int, channel: int, *pairs: tuple[str, str]) -> None:
        self.send(record_frames(kind, channel, encode_record(pairs)))

    def run(self, kind: int, channel: int, *argv: str, **more: str) -> None:
        self.record(
            kind, channel, *(("argv", word) for word in argv), ("env", "PATH=/usr/bin:/bin"),
            *more.items(),
        )  # fmt: skip

    def next(self) -> tuple[int, int, int, bytes]:
        """Type, flags, channel and payload of the next frame. EOFError at the end."""
        length, kind, flags, _, channel = struct.unpack(">IBBHI", self._take(12))
        return kind, flags, channel, self._take(length)

    def _take(self, size: int) -> bytes:
        while len(self._have) < size:
            data = self._link.recv(1 << 18)
            if not data:
                raise EOFError
            self._have += data
        taken, self._have = self._have[:size], self._have[size:]
        return taken

    def until(self, kind: int, channel: int) -> tuple[bytes, dict[str, list[str]]]:
        """Output of the channel up to a record of this type, and that record. Gives credit."""
        output = b""
        while True:
            got, _, where, payload = self.next()
            if (got, where) == (kind, channel):
                return output, decode_record(payload)
            if where == channel and got == DATA:
                output += payload
                self.send(frame(CREDIT, channel, struct.pack(">I", len(payload))))
            elif where == channel and got in {ERROR, EXIT, RESULT}:
                raise AssertionError(f"{got}: {payload!r}")

    def ended(self) -> int:
        """Wait for its end; its status."""
        with suppress(EOFError, ConnectionResetError):
            while True:
                self.next()
        return self.process.wait(20)


@contextmanager
def _agent() -> Iterator[Agent]:
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    with ours, theirs:
        process = subprocess.Popen(
            [NATIVE / "wirt-agent-sanitized"], stdin=theirs.fileno(), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, env={"ASAN_OPTIONS": "detect_leaks=0"},
        )  # fmt: skip
        theirs.close()
        try:
            yield Agent(process, ours)
        finally:
            # Hung up on, it kills what it has started.
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)
            process.wait(20)
            assert process.stderr is not None
            report = process.stderr.read()
            process.stderr.close()
            assert b"Sanitizer" not in report, report.decode()


@pytest.fixture
def agent() -> Iterator[Agent]:
    """One that runs ``sleep`` as its main process."""
    with _agent() as made:
        assert made.next()[0] == HELLO
        made.run(CONFIG, 0, "sleep", "1000")
        assert made.until(STARTED, 1)[1]["uid"] == ["0"]
        yield made


def test_hello_main_process_and_its_end() -> None:
    with _agent() as agent:
        kind, flags, channel, payload = agent.next()
        assert (kind, flags, channel) == (HELLO, 0, 0)
        assert decode_record(payload)["version"] == ["1"]
        agent.run(CONFIG, 0, "sh", "-c", "echo out; echo err >&2; exit 7")
        agent.until(STARTED, 1)
        output, end = agent.until(EXIT, 1)
        assert sorted(output.split()) == [b"err", b"out"]
        assert end == {"code": ["7"], "signal": ["0"]}
        assert agent.ended() == 0


def test_many_processes_at_once_leave_no_zombie(agent: Agent) -> None:
    for channel in range(2, 102):
        agent.run(SPAWN, channel, "sh", "-c", f"echo {channel}")
    seen: dict[int, bytes] = {}
    ends: set[int] = set()
    while len(ends) < 100:
        kind, _, channel, payload = agent.next()
        assert kind != ERROR, payload
        if kind == DATA:
            seen[channel] = seen.get(channel, b"") + payload
        elif kind == EXIT:
            ends.add(channel)
    assert seen == {channel: b"%d\n" % channel for channel in range(2, 102)}
    children = Path(f"/proc/{agent.process.pid}/task/{agent.process.pid}/children")
    assert len(children.read_text().split()) == 1


def test_no_more_is_sent_than_there_is_credit_for(agent: Agent) -> None:
    agent.run(SPAWN, 2, "head", "-c", "1000000", "/dev/zero")
    agent.until(STARTED, 2)
    got = 0
    while got < START_CREDIT:
        kind, _, channel, payload = agent.next()
        assert (kind, channel) == (DATA, 2)
        got += len(payload)
    assert got == START_CREDIT
    # Another process is heard meanwhile.
    agent.run(SPAWN, 3, "echo", "other")
    assert agent.until(EXIT, 3)[0] == b"other\n"
    agent.send(frame(CREDIT, 2, struct.pack(">I", 1 << 20)))
    assert got + len(agent.until(EXIT, 2)[0]) == 1_000_000


def test_input_is_given_back_as_credit(agent: Agent) -> None:
    agent.run(SPAWN, 2, "wc", "-c", stdin="1")
    credit, sent = START_CREDIT, 0
    while sent < 2_000_000:
        piece = min(credit, 65_536)
        if piece == 0:
            kind, _, channel, payload = agent.next()
            if (kind, channel) == (CREDIT, 2):
                credit += struct.unpack(">I", payload)[0]
            continue
        agent.send(frame(DATA, 2, bytes(piece)))
        credit, sent = credit - piece, sent + piece
    agent.send(frame(EOF, 2))
    assert agent.until(EXIT, 2)[0] == b"%d\n" % sent


def test_a_signal_a_size_and_an_end_for_nobody_are_ignored(agent: Agent) -> None:
    agent.record(SIGNAL, 99, ("signal", "9"))
    agent.record(SIGNAL, 1, ("signal", "0"))
    agent.record(SIGNAL, 1, ("signal", "four"))
    agent.record(SIGNAL, 1)
    agent.record(RESIZE, 1, ("rows", "10"))
    agent.send(frame(EOF, 99) + frame(DATA, 99, b"x") + frame(CREDIT, 99, bytes(4)))
    agent.run(SPAWN, 2, "echo", "alive")
    assert agent.until(EXIT, 2)[0] == b"alive\n"


def test_a_channel_that_is_in_use_is_refused(agent: Agent) -> None:
    agent.run(SPAWN, 1, "true")
    error = agent.until(ERROR, 1)[1]
    assert error["exit"] == ["126"]


@pytest.mark.parametrize(
    "garbage",
    [
        bytes(range(64)),
        b"\xff" * 12,
        frame(77, 0),
        frame(HELLO, 0),
        struct.pack(">IBBHI", 65_537, DATA, 0, 0, 1),
        struct.pack(">IBBHI", 0, DATA, 0, 1, 1),
        frame(CREDIT, 1, b"abc"),
        frame(CREDIT, 1, b"\xff" * 4) * 2,
        frame(SPAWN, 2, b"no equals sign\0"),
        frame(SPAWN, 2, b"argv=not ended"),
        frame(SPAWN, 2, b"a=b\0", flags=2),
        frame(SPAWN, 2, b"a=b\0", flags=1) + frame(DATA, 1, b"x"),
        frame(SPAWN, 2, b"a=b\0", flags=1) + frame(SPAWN, 3, b"a=b\0"),
        frame(SPAWN, 2, b"a=" + b"b" * 65_000, flags=1) * 70,
        frame(CONFIG, 0, b"argv=again\0"),
        frame(DATA, 1, bytes(60_000)) * 8,
    ],
)
def test_a_keeper_that_breaks_the_protocol_is_left(garbage: bytes) -> None:
    with _agent() as agent:
        agent.next()
        agent.run(CONFIG, 0, "sleep", "1000", stdin="1")
        agent.until(STARTED, 1)
        agent.send(garbage)
        assert agent.ended() == 1


def test_nothing_runs_before_the_configuration() -> None:
    with _agent() as agent:
        agent.next()
        agent.run(SPAWN, 2, "touch", "/never")
        agent.run(CONFIG, 0, "echo", "first")
        assert agent.until(EXIT, 1)[0] == b"first\n"
    assert not Path("/never").exists()


def test_the_end_of_the_link_ends_all(agent: Agent) -> None:
    agent.run(SPAWN, 2, "sleep", "1000")
    pid = int(agent.until(STARTED, 2)[1]["pid"][0])
    agent._link.shutdown(socket.SHUT_RDWR)
    assert agent.process.wait(20) == 1
    deadline = time.monotonic() + 10
    with suppress(FileNotFoundError):  # killed is not yet dead: the kernel has to schedule it
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
            assert time.monotonic() < deadline, "it runs on"
            time.sleep(0.01)


def test_calls_answer_with_a_result_or_an_error(agent: Agent, tmp_path: Path) -> None:
    agent.record(CALL, 2, ("call", "stat"), ("path", str(tmp_path)))
    assert agent.until(RESULT, 2)[1]["name"] == [tmp_path.name]
    for channel, wrong in enumerate(("", "relative", "/" + "x" * 5000), start=3):
        agent.record(CALL, channel, ("call", "stat"), ("path", wrong))
        assert agent.until(ERROR, channel)[1]["exit"] == ["0"]
    agent.record(CALL, 9, ("call", "stats"))
    assert int(agent.until(RESULT, 9)[1]["memory_limit"][0]) > 0
    agent.record(CALL, 10)
    assert "knows no call" in agent.until(ERROR, 10)[1]["message"][0]


def test_a_tree_that_is_cut_off_ends_its_call_only(agent: Agent, tmp_path: Path) -> None:
    agent.record(CALL, 2, ("call", "tar-in"), ("path", str(tmp_path)))
    agent.send(frame(DATA, 2, b"x" * 700) + frame(EOF, 2))
    assert "damaged" in agent.until(ERROR, 2)[1]["message"][0]
    agent.run(SPAWN, 3, "echo", "alive")
    assert agent.until(EXIT, 3)[0] == b"alive\n"
