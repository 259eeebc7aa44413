"""A machine's keeper whose agent is played by the test and whose QEMU is any program."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from keeping import GUEST, Keeper, keeper
from wirt.guest.frame import (
    Frame,
    FrameParser,
    Record,
    RecordParser,
    decode_record,
    encode_record,
    record_frames,
)
from wirt.guest.keeper import KeeperLink, Request

HELLO, STARTED, DATA, EOF, EXIT, ERROR, CREDIT = 20, 21, 22, 23, 24, 25, 26
CONFIG, SPAWN, SIGNAL, RESIZE, CALL, RESULT = 30, 31, 32, 33, 34, 35
WINDOW = 262_144


class Agent:
    """The far end of the link."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.frames: list[Frame] = []
        self._parser = FrameParser()

    async def send(self, kind: int, channel: int, payload: bytes = b"", flags: int = 0) -> None:
        data = Frame(kind, channel, payload, flags).encode()
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def record(self, kind: int, channel: int, **pairs: str) -> None:
        data = record_frames(kind, channel, encode_record(pairs.items()))
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def frame(self) -> Frame:
        """The next frame."""
        while not self.frames:
            data = await asyncio.wait_for(
                asyncio.get_running_loop().sock_recv(self.sock, 1 << 20), 10
            )
            assert data, "the keeper closed the link"
            self.frames += self._parser.feed(data)
        return self.frames.pop(0)

    async def expect(self, kind: int, channel: int) -> Record:
        """The next record, which must be this one."""
        records = RecordParser()
        while True:
            frame = await self.frame()
            assert (frame.type, frame.channel) == (kind, channel)
            whole = records.add(frame)
            if whole is not None:
                return decode_record(whole)

    async def greet(self) -> Record:
        await self.record(HELLO, 0, version="1", kernel="6.1", boot_id="b")
        return await self.expect(CONFIG, 0)


def exists(pid: int) -> bool:
    """Whether there is such a process, zombies included."""
    return Path(f"/proc/{pid}").exists()


def comm(pid: int) -> str:
    """The name of a running program."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


@asynccontextmanager
async def machine(
    qemu: str = "exec sleep 1000", **options: str
) -> AsyncIterator[tuple[Keeper, KeeperLink, Agent]]:
    """A waiting keeper of a machine, its connection and its agent."""
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory(prefix="wirt-machine-") as name, ours, theirs:
        run = Path(name)
        (run / "agent.conf").write_bytes(encode_record([("hostname", "h"), ("argv", "x" * 70_000)]))
        conf = {
            "id": GUEST, "mode": "machine", "tty": "0", "stdin": "1", "stdin_once": "1",
            "log": str(run / "log"), "log_size": "10000000", "log_files": "2",
            "agent_fd": str(theirs.fileno()), "agent_config": "agent.conf",
            "console_log": "console", "env": f"PATH={os.environ['PATH']}",
        }  # fmt: skip
        pairs = [*(conf | options).items(), *(("argv", word) for word in ("sh", "-c", qemu))]
        with keeper(run, pairs, fds=(theirs.fileno(),)) as rig:
            theirs.close()
            yield rig, await rig.connect(), Agent(ours)


@asynccontextmanager
async def running(**options: str) -> AsyncIterator[tuple[Keeper, KeeperLink, Agent]]:
    async with machine(**options) as (rig, link, agent):
        start = asyncio.ensure_future(link.request(Request.START, {}))
        await agent.greet()
        await agent.record(STARTED, 1, pid="1", uid="0", gid="0")
        await start
        yield rig, link, agent
