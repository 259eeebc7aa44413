"""The keeper with a stand-in for QEMU whose agent says whatever a hostile guest could."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keeping import Keeper
from needs import NATIVE, needs
from wirt.errors import WirtError
from wirt.guest.frame import decode_record, encode_record, record_frames
from wirt.guest.keeper import Request

pytestmark = needs("root", "keeper")
HELLO, STARTED, DATA, EOF, EXIT, ERROR, CREDIT, RESULT = 20, 21, 22, 23, 24, 25, 26, 35
KEEPER = Path(os.environ.get("WIRT_KEEPER", NATIVE / "wirt-keeper"))


def frame(kind: int, channel: int, payload: bytes = b"", *, flags: int = 0) -> bytes:
    return struct.pack(">IBBHI", len(payload), kind, flags, 0, channel) + payload


def record(kind: int, channel: int, **pairs: str) -> bytes:
    return record_frames(kind, channel, encode_record(pairs.items()))


GREETING = record(HELLO, 0, version="1", kernel="6.1", boot_id="b")
RUNNING = GREETING + record(STARTED, 1, pid="82", uid="0", gid="0")
STAND_IN = """
import os, signal, socket, sys, time
link = socket.socket(fileno=int(sys.argv[1]))
print("console says hello", flush=True)
link.sendall(open("says", "rb").read())
then = sys.argv[2]
if then == "wait":
    try:
        while link.recv(65536):
            pass
    except ConnectionResetError:
        pass
    time.sleep(1000)
elif then == "abort":
    os.kill(os.getpid(), signal.SIGABRT)
elif then == "config":
    seen = b""
    while b"marker=here" not in seen:
        seen += link.recv(65536)
    assert b"entropy=" in seen and b"time=" in seen
    link.sendall(open("later", "rb").read())
"""


@contextmanager
def machine(
    tmp_path: Path, says: bytes, then: str = "wait", later: bytes = b""
) -> Iterator[Keeper]:
    """A keeper in machine mode; its QEMU is a program that says bytes and does one thing more."""
    run = tmp_path / "run"
    (run / "log").mkdir(parents=True)
    (run / "agent.conf").write_bytes(encode_record([("marker", "here"), ("argv", "true")]))
    ours, theirs = socket.socketpair()
    (run / "says").write_bytes(says)
    (run / "later").write_bytes(later)
    argv = [sys.executable, "-c", STAND_IN, str(theirs.fileno()), then]
    conf = [
        ("id", "g"), ("mode", "machine"), *(("argv", word) for word in argv),
        ("tty", "0"), ("stdin", "0"), ("stdin_once", "0"),
        ("log", str(run / "log")), ("log_size", "1048576"), ("log_files", "2"),
        ("child_fd", str(theirs.fileno())), ("agent_fd", str(ours.fileno())),
        ("agent_config", "agent.conf"), ("console_log", "console.log"),
    ]  # fmt: skip
    (run / "keeper.conf").write_bytes(encode_record(conf))
    with ours, theirs:
        process = subprocess.Popen(
            [KEEPER, run], pass_fds=[ours.fileno(), theirs.fileno()], stdin=subprocess.DEVNULL
        )
    keeper = Keeper(run, process)
    try:
        yield keeper
    finally:
        process.kill()
        process.wait(20)
        for client in keeper.clients:
            client.close()


def _exit(keeper: Keeper) -> dict[str, list[str]]:
    keeper.process.wait(20)
    return decode_record((keeper.run / "exit").read_bytes())


def test_an_ordinary_life(tmp_path: Path) -> None:
    life = record(STARTED, 1, pid="82", uid="0", gid="0")
    life += frame(DATA, 1, b"out\n", flags=1) + frame(DATA, 1, b"err\n", flags=2)
    life += frame(EOF, 1, flags=1) + frame(EOF, 1, flags=2) + record(EXIT, 1, code="7", signal="0")

    async def story() -> None:
        with machine(tmp_path, GREETING, "config", life) as keeper:
            link = await keeper.connect()
            client = await keeper.attach(link, mux="0")
            await link.request(Request.START, {})
            assert await client.rest() == b"out\nerr\n"
            assert _exit(keeper)["code"] == ["7"]
            assert (keeper.run / "console.log").read_text() == "console says hello\n"
            await link.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (b"\xff" * 64, "broke the protocol"),
        (record(STARTED, 1, pid="1", uid="0", gid="0"), "broke the protocol"),
        (frame(DATA, 1, b"x", flags=1), "broke the protocol"),
        (GREETING + record(EXIT, 1, code="0", signal="0"), "broke the protocol"),
        (GREETING + frame(99, 1), "broke the protocol"),
        (GREETING + record(STARTED, 1, pid="-5"), "broke the protocol"),
        (GREETING + frame(STARTED, 1, b"pid=1"), "broke the protocol"),
        (GREETING + frame(STARTED, 1, b"p=" + b"x" * 65_000, flags=1) * 70, "broke the protocol"),
        (GREETING + record(ERROR, 1, message="no \x1b[31mroot", errno="2", exit="125"), "no "),
        (GREETING + record(ERROR, 1, message="x", errno="70000", exit="1"), "broke the protocol"),
    ],
)
def test_a_start_that_goes_wrong_is_an_error_with_its_reason(
    tmp_path: Path, says: bytes, words: str
) -> None:
    async def story() -> None:
        with machine(tmp_path, says) as keeper:
            link = await keeper.connect()
            with pytest.raises(WirtError, match=words) as caught:
                await link.request(Request.START, {})
            assert caught.value.facts["exit"] == 125
            assert "\x1b" not in caught.value.message
            assert _exit(keeper)["code"] == ["125"]
            await link.close()

    asyncio.run(story())


def test_a_machine_that_ends_before_its_hello_is_told_by_its_last_words(tmp_path: Path) -> None:
    async def story() -> None:
        with machine(tmp_path, b"", "end") as keeper:
            link = await keeper.connect()
            with pytest.raises(WirtError, match="console says hello"):
                await link.request(Request.START, {})
            await link.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("says", "then", "code"),
    [
        (RUNNING, "end", "255"),
        (RUNNING, "abort", "137"),
        (RUNNING + b"\xff" * 64, "wait", "255"),
        (RUNNING + frame(DATA, 1, b"x", flags=7), "wait", "255"),
        (RUNNING + record(EXIT, 1, code="256", signal="0"), "wait", "255"),
        (RUNNING + record(STARTED, 1, pid="83"), "wait", "255"),
        (RUNNING + record(RESULT, 1, a="b"), "wait", "255"),
        (RUNNING + record(EXIT, 9, code="0", signal="0") + frame(DATA, 9, b"x"), "end", "255"),
    ],
)
def test_a_machine_that_is_lost_ends_with_a_code_and_a_reason(
    tmp_path: Path, says: bytes, then: str, code: str
) -> None:
    async def story() -> None:
        with machine(tmp_path, says, then) as keeper:
            link = await keeper.connect()
            await link.request(Request.START, {})
            end = await asyncio.to_thread(_exit, keeper)
            assert end["code"] == [code]
            assert end["error"][0]
            await link.close()

    asyncio.run(story())
