"""One process in a guest that nobody sees: its streams, its end."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import replace

from wirt.aio import beside
from wirt.engine.protocol import Engine, Exit, Handle
from wirt.errors import Internal, Unavailable, WirtError
from wirt.guest.keeper import KeeperLink, Record
from wirt.host.build.lent import Lent
from wirt.host.running import parse_exit
from wirt.image.build.step import STDERR, STDOUT, Out
from wirt.layout import Layout
from wirt.model.guest import ExecSpec, Guest
from wirt.model.names import new_id

_HEAD = struct.Struct(">B3xI")
_CHUNK = 64 * 1024
MAX_FRAME = 16 * 1024 * 1024
POWER_OFF = 60.0
"""Seconds for a machine to write its disk and end."""

log = logging.getLogger("wirt.build")


class Endings:
    """How the processes of a guest ended, as its keeper tells."""

    def __init__(self) -> None:
        self._known: dict[str, asyncio.Future[Exit]] = {}
        self._lost = False

    def of(self, name: str) -> asyncio.Future[Exit]:
        """The end of ``main`` or of a further process; Unavailable when its keeper was killed."""
        if name not in self._known:
            self._known[name] = asyncio.get_running_loop().create_future()
            if self._lost:
                self._fail(self._known[name])
        return self._known[name]

    def event(self, record: Record) -> None:
        """Hear the keeper."""
        if record.get("event") == ["exit"]:
            ending = self.of(record.get("target", ["main"])[0])
            if not ending.done():
                ending.set_result(parse_exit(record))

    def closed(self) -> None:
        """The keeper is gone: no process will be heard of any more."""
        self._lost = True
        for ending in self._known.values():
            self._fail(ending)

    @staticmethod
    def _fail(ending: asyncio.Future[Exit]) -> None:
        if not ending.done():
            ending.set_exception(Unavailable("the keeper of the step was killed"))

    def forget(self) -> None:
        """Nobody waits any more."""
        for ending in self._known.values():
            if ending.done() and not ending.cancelled():
                ending.exception()  # heard, whether or not anybody asked
            ending.cancel()


class Session:
    """A launched guest, whose keeper waits for START."""

    def __init__(self, keeper: KeeperLink, handle: Handle, endings: Endings) -> None:
        self._keeper = keeper
        self.handle = handle
        self._endings = endings
        self._terminal = "main"

    async def ended(self) -> Exit:
        """Wait for the end of the main process. Raises Unavailable when its keeper was killed."""
        return await asyncio.shield(self._endings.of("main"))

    async def run(self, stdin: bytes, out: Out) -> Exit:
        """Run the main process to its end, its output told as it comes."""
        ours, theirs = socket.socketpair()
        with theirs:
            await self.handle.attach(
                theirs.fileno(), stdin=bool(stdin), stdout=True, stderr=True, mux=True, detach=b""
            )
        async with _streaming(ours, stdin, out) as told:
            await self.handle.start()
            ending, _ = await asyncio.gather(self.ended(), told)
        return ending

    async def execute(self, spec: ExecSpec, stdin: bytes, out: Out) -> Exit:
        """Run a further process of a started guest to its end."""
        name = new_id()
        ending = self._endings.of(name)
        ours, theirs = socket.socketpair()
        async with _streaming(ours, stdin, out) as told:
            with theirs:
                await self.handle.execute(name, spec, theirs.fileno())
            ended, _ = await asyncio.gather(asyncio.shield(ending), told)
        return ended

    async def execute_on_terminal(
        self, spec: ExecSpec, descriptor: int, size: tuple[int, int]
    ) -> Exit:
        """The same with a client's terminal of ``size`` rows and columns; ``descriptor`` stays the
        caller's."""
        self._terminal = new_id()
        ending = self._endings.of(self._terminal)
        spec = replace(spec, rows=max(0, size[0]), columns=max(0, size[1]))
        await self.handle.execute(self._terminal, spec, descriptor)
        return await asyncio.shield(ending)

    async def resize(self, rows: int, columns: int) -> None:
        """Tell the process that has a client's terminal its size."""
        await self.handle.resize(rows, columns, target=self._terminal)

    @property
    def machine(self) -> Lent:
        """What only a machine can be asked; others refuse it."""
        return Lent(self._keeper)

    async def power_off(self) -> None:
        """End a machine so that its disk holds all that was written; a hint, as any word to a
        guest: one that does not listen is ended all the same, as it is."""
        try:
            async with asyncio.timeout(POWER_OFF):
                await self.machine.power_off()
                await self.ended()
        except (TimeoutError, WirtError) as error:
            log.warning("a machine did not end as it was asked to: %s", error)

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
    endings = Endings()
    keeper = await KeeperLink.connect(
        layout.keeper_socket(guest.id), on_event=endings.event, on_closed=endings.closed
    )
    handle = engine.handle(guest, keeper)
    try:
        yield Session(keeper, handle, endings)
    finally:
        handle.close()
        await keeper.close()
        endings.forget()


@contextlib.asynccontextmanager
async def _streaming(
    ours: socket.socket, stdin: bytes, out: Out
) -> AsyncIterator[asyncio.Task[None]]:
    """Feed a process its input and tell its output, while the block runs it."""
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        async with beside(_feed(writer, stdin)), beside(_tell(reader, out)) as told:
            yield told
    finally:
        writer.close()


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
