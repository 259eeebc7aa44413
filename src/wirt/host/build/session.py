"""One process in a guest that nobody sees: its streams, its end."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import struct
from collections.abc import AsyncIterator

from wirt.aio import beside
from wirt.engine.protocol import Engine, Exit, Handle
from wirt.errors import Internal, Unavailable
from wirt.guest.keeper import KeeperLink, Record
from wirt.host.running import parse_exit
from wirt.image.build.step import STDERR, STDOUT, Out
from wirt.layout import Layout
from wirt.model.guest import Guest

_HEAD = struct.Struct(">B3xI")
_CHUNK = 64 * 1024
MAX_FRAME = 16 * 1024 * 1024


class Session:
    """A launched guest, whose keeper waits for START."""

    def __init__(self, keeper: KeeperLink, handle: Handle, ending: asyncio.Future[Exit]) -> None:
        self._keeper = keeper
        self.handle = handle
        self._ending = ending

    async def ended(self) -> Exit:
        """Wait for the end of the main process. Raises Unavailable when its keeper was killed."""
        return await asyncio.shield(self._ending)

    async def run(self, stdin: bytes, out: Out) -> Exit:
        """Run the main process to its end, its output told as it comes."""
        ours, theirs = socket.socketpair()
        with theirs:
            await self.handle.attach(
                theirs.fileno(), stdin=bool(stdin), stdout=True, stderr=True, mux=True, detach=b""
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            await self.handle.start()
            async with beside(_feed(writer, stdin)), beside(_tell(reader, out)) as told:
                ending, _ = await asyncio.gather(self.ended(), told)
            return ending
        finally:
            writer.close()

    async def interact(self, descriptor: int, *, rows: int, columns: int) -> Exit:
        """Run the main process with a client's terminal; ``descriptor`` stays the caller's."""
        await self.handle.attach(
            descriptor, stdin=True, stdout=True, stderr=True, mux=False, detach=b""
        )
        await self.handle.start()
        if rows > 0 and columns > 0:
            await self.handle.resize(rows, columns)
        return await self.ended()


@contextlib.asynccontextmanager
async def session(layout: Layout, engine: Engine, guest: Guest) -> AsyncIterator[Session]:
    """Connect to the keeper of a launched guest."""
    ending: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    def event(record: Record) -> None:
        is_end = record.get("event") == ["exit"] and record.get("target", ["main"]) == ["main"]
        if is_end and not ending.done():
            ending.set_result(parse_exit(record))

    def closed() -> None:
        if not ending.done():
            ending.set_exception(Unavailable("the keeper of the step was killed"))

    keeper = await KeeperLink.connect(
        layout.keeper_socket(guest.id), on_event=event, on_closed=closed
    )
    try:
        yield Session(keeper, engine.handle(guest, keeper), ending)
    finally:
        await keeper.close()
        if ending.done() and not ending.cancelled():
            ending.exception()  # heard, whether or not anybody asked
        ending.cancel()


async def _feed(writer: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # a process need not read its input
        writer.write(data)
        await writer.drain()
        writer.write_eof()


async def _tell(reader: asyncio.StreamReader, out: Out) -> None:
    """Pass frames on; those of a stream that nobody knows are a bug of the keeper."""
    while True:
        try:
            stream, size = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        if stream not in {STDOUT, STDERR} or size > MAX_FRAME:
            raise Internal(f"the keeper sent a frame of stream {stream}, {size} bytes")
        while size:
            data = await reader.read(min(size, _CHUNK))
            if not data:
                return
            size -= len(data)
            told = out(stream, data)
            if inspect.isawaitable(told):
                await told
