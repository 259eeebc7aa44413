"""Between the event loop and code that blocks: a pipe, with the pipe's own back-pressure.

A thread reads (or writes) one end with plain blocking calls, the loop serves the other. When the
loop's side fails or is cancelled it closes its end, so the thread comes to its end by itself;
``to_thread`` alone could not be stopped. Descriptors for the helper are served the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from wirt.aio import beside

T = TypeVar("T")

CHUNK = 256 * 1024
_PIPE_SIZE = 1024 * 1024
_THREADS = 16
"""For work that ends by itself."""
_STREAMS = 256
"""For work at the pace of whom a body comes from or goes to. A thread is made only when all others
are busy; so many clients must stand still before the next one waits for them."""


class FdReader:
    """Blocking reads of a descriptor, for a thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int, /) -> bytes:
        return os.read(self._fd, size)


class FdWriter:
    """Blocking writes into a descriptor, for a thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: bytes, /) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


class Pipes:
    """Runs blocking work in threads of its own, so slow clients starve nobody else's threads; and
    work at a client's pace in others than work at the machine's."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="work")
        self._streams = ThreadPoolExecutor(max_workers=_STREAMS, thread_name_prefix="pipe")

    async def call(self, work: Callable[[], T]) -> T:
        """Run blocking work that ends by itself; a cancellation waits for its end."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await _settle(future)
            raise

    async def make(self, work: Callable[[], T], undo: Callable[[T], object]) -> T:
        """As :meth:`call` for what must not be lost: what was made when a cancellation came is
        undone, which takes no time."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await _settle(future)
            if not future.cancelled() and future.exception() is None:
                undo(future.result())
            raise

    async def feed(self, body: AsyncIterable[bytes], work: Callable[[FdReader], T]) -> T:
        """What ``work`` makes of the bytes of ``body``. When the body breaks off, its error is
        raised, whatever ``work`` made of the part that came."""
        reader, writer = new_pipe()

        def run() -> T:
            try:
                return work(FdReader(reader))
            finally:
                os.close(reader)

        future = asyncio.get_running_loop().run_in_executor(self._streams, run)
        try:
            try:
                await pour(body, writer)
            finally:
                os.close(writer)
            return await asyncio.shield(future)
        except BaseException:
            await _settle(future)
            raise

    async def drain(self, work: Callable[[FdWriter], object]) -> AsyncGenerator[bytes, None]:
        """The bytes that ``work`` writes. Its error is raised after them."""
        reader, writer = new_pipe()

        def run() -> None:
            try:
                work(FdWriter(writer))
            finally:
                os.close(writer)

        future = asyncio.get_running_loop().run_in_executor(self._streams, run)
        try:
            try:
                async for chunk in chunks(reader):
                    yield chunk
            finally:
                os.close(reader)
            await asyncio.shield(future)
        except BaseException:
            await _settle(future)
            raise

    async def change(
        self, body: AsyncIterable[bytes], work: Callable[[FdReader, FdWriter], object]
    ) -> AsyncGenerator[bytes, None]:
        """The bytes that ``work`` makes of a body. An error of the body or of the work is raised
        after them."""
        reader, writer = new_pipe()

        async def feed() -> None:
            try:
                await pour(body, writer)
            finally:
                os.close(writer)

        def run(sink: FdWriter) -> None:
            try:
                work(FdReader(reader), sink)
            finally:
                os.close(reader)

        async with beside(feed()) as fed:
            async with contextlib.aclosing(self.drain(run)) as made:
                async for chunk in made:
                    yield chunk
            await fed

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()
        self._streams.shutdown()


async def chunks(fd: int) -> AsyncIterator[bytes]:
    """Everything readable from a descriptor until its end."""
    os.set_blocking(fd, False)
    while True:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            await _ready(fd, write=False)
            continue
        if not data:
            return
        yield data


async def pour(body: AsyncIterable[bytes], fd: int) -> None:
    """Write a body into a descriptor; a reader that has gone away ends it quietly, since that
    side knows why it left."""
    os.set_blocking(fd, False)
    async for chunk in body:
        try:
            await _write(fd, chunk)
        except (BrokenPipeError, ConnectionResetError):
            return


async def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _ready(fd, write=True)


async def writable(fd: int) -> None:
    """Wait until a descriptor takes more bytes."""
    await _ready(fd, write=True)


def new_pipe() -> tuple[int, int]:
    """A pipe's reading and writing end, as large as may be."""
    reader, writer = os.pipe()
    with contextlib.suppress(OSError):  # beyond the user's share of pipe memory
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    return reader, writer


async def _ready(fd: int, *, write: bool) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    (loop.add_writer if write else loop.add_reader)(fd, wake)
    try:
        await future
    finally:
        (loop.remove_writer if write else loop.remove_reader)(fd)


async def _settle(future: asyncio.Future[T]) -> None:
    """Wait until a thread is done, however often this task is cancelled meanwhile."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({future})
    if not future.cancelled():
        future.exception()
