"""A guest's raw streams for the async client: input one way, framed or raw output the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from wirt.client.wire import Lost, problem

MAX_HEAD = 65_536
READ_SIZE = 262_144
HEADER = 8


class Stream:
    """An attached stream. Iterate it for ``(1 or 2, bytes)``: stdout and stderr as they come."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, tty: bool
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._tty = tty

    @classmethod
    async def open(cls, socket: str, where: str, *, tty: bool) -> Self:
        """Connect, ask for the upgrade, and return after ``101``. Raises the daemon's problem."""
        from wirt.client.daemon import unreachable

        try:
            reader, writer = await asyncio.open_unix_connection(socket, limit=MAX_HEAD)
        except OSError as error:
            raise unreachable(socket, error) from error
        made = cls(reader, writer, tty=tty)
        try:
            await made._upgrade(where)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            await made.close()
            raise unreachable(socket, Lost(str(error))) from error
        except BaseException:
            await made.close()
            raise
        return made

    async def _upgrade(self, where: str) -> None:
        head = f"POST {where} HTTP/1.1\r\nHost: wirt\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        self._writer.write(f"{head}Content-Length: 0\r\n\r\n".encode("ascii"))
        await self._writer.drain()
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(answer[9:12])
        if status == 101:
            return
        names = dict(
            line.lower().split(": ", 1) for line in answer.split("\r\n")[1:] if ": " in line
        )
        raise problem(status, await self._reader.readexactly(int(names.get("content-length", "0"))))

    async def write(self, data: bytes) -> None:
        """Send input, waiting while the guest takes none."""
        self._writer.write(data)
        await self._writer.drain()

    def end_input(self) -> None:
        """Half-close: the guest reads end of file, its output still comes."""
        self._writer.write_eof()

    async def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        if self._tty:
            while data := await self._reader.read(READ_SIZE):
                yield 1, data
            return
        while True:
            try:
                head = await self._reader.readexactly(HEADER)
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise Lost("the stream ended within a frame") from error
                return
            left = int.from_bytes(head[4:])
            while left:
                data = await self._reader.read(min(left, READ_SIZE))
                if not data:
                    raise Lost("the stream ended within a frame")
                left -= len(data)
                yield head[0], data

    async def collect(self) -> tuple[bytes, bytes]:
        """Everything until the end: stdout and stderr."""
        parts: tuple[list[bytes], list[bytes]] = ([], [])
        async for stream, data in self:
            parts[stream == 2].append(data)
        return b"".join(parts[0]), b"".join(parts[1])

    async def close(self) -> None:
        """Close it; the guest goes on."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
