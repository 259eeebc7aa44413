"""Pipes between the event loop and threads: back-pressure, errors, cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, suppress

import pytest

from wirt.host.pipe import FdReader, FdWriter, Pipes


def run(story: Callable[[Pipes], Awaitable[None]]) -> None:
    async def whole() -> None:
        pipes = Pipes()
        try:
            await asyncio.wait_for(story(pipes), 60)
        finally:
            pipes.close()

    asyncio.run(whole())


def read_all(source: FdReader) -> bytes:
    parts = []
    while part := source.read(65_536):
        parts.append(part)
    return b"".join(parts)


async def body(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def test_a_body_reaches_the_thread_whole() -> None:
    data = [bytes([n]) * 700_000 for n in range(5)]

    async def story(pipes: Pipes) -> None:
        assert await pipes.feed(body(*data), read_all) == b"".join(data)

    run(story)


def test_the_bodys_error_wins_over_what_came_of_its_part() -> None:
    seen = []

    async def breaks() -> AsyncIterator[bytes]:
        yield b"part"
        raise ConnectionResetError

    async def story(pipes: Pipes) -> None:
        with pytest.raises(ConnectionResetError):
            await pipes.feed(breaks(), lambda source: seen.append(read_all(source)))
        assert seen == [b"part"], "the thread came to its end"

    run(story)


def test_a_thread_that_stops_reading_tells_why() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)

    def work(source: FdReader) -> None:
        source.read(10)
        raise ValueError("enough")

    async def story(pipes: Pipes) -> None:
        with pytest.raises(ValueError, match="enough"):
            await pipes.feed(endless(), work)

    run(story)


def test_a_cancelled_feed_ends_its_thread() -> None:
    ended = []

    async def story(pipes: Pipes) -> None:
        taken = asyncio.Event()

        async def hangs() -> AsyncIterator[bytes]:
            yield b"x"
            taken.set()
            await asyncio.Event().wait()

        feed = pipes.feed(hangs(), lambda source: ended.append(read_all(source)))
        task = asyncio.ensure_future(feed)
        await taken.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [b"x"]

    run(story)


def test_output_and_its_error_arrive() -> None:
    def work(sink: FdWriter) -> None:
        sink.write(bytes(3_000_000))
        raise ValueError("late")

    async def story(pipes: Pipes) -> None:
        stream = pipes.drain(work)
        total = 0
        while total < 3_000_000:
            total += len(await anext(stream))
        with pytest.raises(ValueError, match="late"):
            await anext(stream)

    run(story)


def test_a_reader_that_leaves_ends_the_writer() -> None:
    failures: list[BaseException] = []

    def work(sink: FdWriter) -> None:
        try:
            while True:
                sink.write(bytes(100_000))
        except BrokenPipeError as error:
            failures.append(error)

    async def story(pipes: Pipes) -> None:
        async with aclosing(pipes.drain(work)) as stream:
            async for _ in stream:
                break
        assert len(failures) == 1

    run(story)


def test_many_clients_that_stand_still_hold_up_nobody() -> None:
    def endless(sink: FdWriter) -> None:
        with suppress(BrokenPipeError):
            while True:
                sink.write(bytes(100_000))

    async def story(pipes: Pipes) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(60):
                stalled = await stack.enter_async_context(aclosing(pipes.drain(endless)))
                await anext(stalled)
            assert await pipes.call(lambda: 7) == 7
            assert await pipes.feed(body(b"a", b"b"), read_all) == b"ab"

    run(story)


def test_a_change_is_applied_on_the_way() -> None:
    def double(source: FdReader, sink: FdWriter) -> None:
        while part := source.read(1000):
            sink.write(part * 2)

    async def story(pipes: Pipes) -> None:
        parts = [chunk async for chunk in pipes.change(body(b"a" * 500_000), double)]
        assert b"".join(parts) == b"a" * 1_000_000

    run(story)


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_made_while_a_cancellation_comes_is_undone(fails: bool) -> None:
    begun, go = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        go.wait()
        if fails:
            raise ValueError
        return "made"

    async def story(pipes: Pipes) -> None:
        undone: list[str] = []
        task = asyncio.ensure_future(pipes.make(work, undone.append))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()  # the thread cannot be stopped
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert undone == ([] if fails else ["made"])
        assert await pipes.make(lambda: "kept", undone.append) == "kept"
        assert "kept" not in undone

    run(story)
