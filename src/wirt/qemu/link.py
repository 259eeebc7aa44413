"""One connection to a machine's monitor, in QEMU's machine protocol (QMP): lines of JSON.

An answer is told from an event by the number of its question, whatever comes in between, so many
questions can be under way at once; QEMU answers them in their order. The other end may be a process
that a guest has taken over: only the shape of what it says is trusted, and how much it says unasked
is bounded. Source of the protocol: QEMU's ``docs/interop/qmp-spec.rst``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

MOST = 4 << 20
"""Bytes that it may say after a question: the longest answer has some tens of KiB, and of most
events there is one a second."""
AGAIN = 0.02
Question = tuple[str, Mapping[str, object]]
"""A command and its arguments."""


class _Error(msgspec.Struct):
    desc: str = ""


class Answer(msgspec.Struct):
    """What QEMU says: ``error`` when it refuses. The rest of an event does not matter here."""

    value: Any = msgspec.field(name="return", default=None)
    error: _Error | None = None
    id: int = 0
    greeting: dict[str, Any] | None = msgspec.field(name="QMP", default=None)


_DECODER = msgspec.json.Decoder(Answer)
_ENCODER = msgspec.json.Encoder()


class Link(asyncio.Protocol):
    """Use :meth:`open`. ``closed``: it is over, for ever."""

    def __init__(self) -> None:
        self.closed = False
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[Answer | None] = self._loop.create_future()
        self._waiting: dict[int, asyncio.Future[Answer | None]] = {}
        # Not from 1 on: what QEMU still does for an earlier connection it answers on this one.
        self._asked = time.monotonic_ns()
        self._heard = 0
        self._rest = b""

    @classmethod
    async def open(cls, path: Path) -> Link:
        """Connect to QEMU's socket and agree on the protocol, however long that takes: QEMU greets
        when whoever was connected before has gone. Raises OSError, EOFError."""
        conn = await _connected(path)
        _, link = await asyncio.get_running_loop().create_unix_connection(cls, sock=conn)
        try:
            if await link._greeted is None:
                raise EOFError("it ended the connection")
            await link.ask(("qmp_capabilities", {}))
        except BaseException:
            link.close()
            raise
        return link

    async def ask(self, *questions: Question) -> Sequence[Answer]:
        """All answers, in the order of the questions. Raises EOFError when the connection ends."""
        if self.closed or self._transport is None:
            raise EOFError("the connection is over")
        futures = []
        lines = []
        for command, arguments in questions:
            self._asked += 1
            question = {"execute": command, "arguments": arguments, "id": self._asked}
            lines.append(_ENCODER.encode(question))
            futures.append(self._waiting.setdefault(self._asked, self._loop.create_future()))
        self._heard = 0
        self._transport.write(b"\n".join(lines) + b"\n")
        answers = [await future for future in futures]
        if None in answers:
            raise EOFError("it ended the connection")
        return cast("list[Answer]", answers)

    def close(self) -> None:
        """End it; whoever waits for an answer gets none."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)

    # --- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self.closed = True
        for future in (self._greeted, *self._waiting.values()):
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self._heard += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            for line in filter(None, map(bytes.strip, lines)):
                self._told(_DECODER.decode(line))
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            self.close()  # whoever speaks no QMP is not believed anything any more
        if self._heard > MOST:
            self.close()

    def _told(self, answer: Answer) -> None:
        future = (
            self._greeted if answer.greeting is not None else self._waiting.pop(answer.id, None)
        )
        if future is not None and not future.done():  # who asked may have given up
            future.set_result(answer)


async def _connected(path: Path) -> socket.socket:
    while True:
        conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            conn.connect(os.fspath(path))
        except BlockingIOError:  # QEMU's queue is full; nothing tells when it has room
            conn.close()
            await asyncio.sleep(AGAIN)
        except BaseException:
            conn.close()
            raise
        else:
            return conn
