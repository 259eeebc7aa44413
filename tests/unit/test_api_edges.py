"""The edges of HTTP: hijacked connections, deadlines, and bytes that are no HTTP at all."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from wirt.aio import shielded
from wirt.api.http.app import application
from wirt.api.http.malformed import Brief
from wirt.api.native.streams import ExecRoutes, StreamRoutes
from wirt.errors import Timeout, Unavailable
from wirt.model.guest import ExecSpec, Guest, GuestSpec

GUEST = Guest(id="a" * 64, name="g", spec=GuestSpec(image="x"), image_id="", created_at=1)


class Nouns:
    """Routes that a test makes."""

    def __init__(self, *routes: web.RouteDef) -> None:
        self._routes = list(routes)

    def routes(self) -> list[web.RouteDef]:
        return self._routes


def exchange(tmp_path: Path, noun: Any, sent: bytes) -> bytes:
    """Everything that comes back for these bytes until the connection ends."""

    async def story() -> bytes:
        runner = web.AppRunner(application([noun]), access_log=None, handler_cancellation=True)
        await runner.setup()
        try:
            await web.UnixSite(runner, str(tmp_path / "s")).start()
            reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            return answer
        finally:
            await runner.cleanup()

    return asyncio.run(story())


Failing = Callable[..., Awaitable[None]]


def failing(error: Exception) -> Failing:
    """A use case that closes the socket it was given, as all of them do, and fails."""

    async def fails(_: object, descriptor: int, *__: object) -> None:
        os.write(descriptor, b"guest's")
        os.close(descriptor)
        raise error

    return fails


@pytest.mark.parametrize("error", [Unavailable("the keeper went away"), OSError(24, "too many")])
@pytest.mark.parametrize("what", ["attach", "exec"])
def test_an_error_after_a_hijack_ends_the_stream_and_writes_nothing_into_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception, what: str
) -> None:
    caplog.set_level(logging.INFO)
    roster = cast(Any, SimpleNamespace(find=lambda _: GUEST))
    process = SimpleNamespace(spec=ExecSpec(command=("x",), tty=False))
    noun: Any
    if what == "attach":
        attach = SimpleNamespace(check=lambda _: None, attach=failing(error))
        unused = cast(Any, None)
        noun = StreamRoutes(roster=roster, running=unused, attach=cast(Any, attach), logs=unused)
        target = "/v1/guests/g/attach"
    else:
        execute = SimpleNamespace(startable=lambda _: process, start=failing(error))
        noun = ExecRoutes(roster=roster, execute=cast(Any, execute))
        target = "/v1/exec/e/start"
    request = f"POST {target} HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n"
    head, _, stream = exchange(tmp_path, noun, request.encode()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert stream == b"guest's"
    assert "hung up" in caplog.text


def test_a_passed_deadline_is_told_as_one(tmp_path: Path) -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await shielded(asyncio.sleep(1000), deadline=0.01)
        raise AssertionError

    async def late(_: web.Request) -> web.StreamResponse:
        raise TimeoutError

    noun = Nouns(web.get("/slow", slow), web.get("/late", late))
    for target, words in (("/slow", b"longer than 0.01 s"), ("/late", b"took too long")):
        sent = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = exchange(tmp_path, noun, sent.encode())
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b'"kind":"timeout"' in answer
        assert words in answer


def test_a_timeout_of_the_work_itself_is_not_the_deadlines() -> None:
    async def own() -> None:
        raise TimeoutError("its own")

    async def ends() -> int:
        return 5

    assert asyncio.run(shielded(ends(), deadline=60)) == 5
    with pytest.raises(TimeoutError, match="its own"):
        asyncio.run(shielded(own(), deadline=60))
    with pytest.raises(Timeout, match="longer than 0 s"):
        asyncio.run(shielded(asyncio.sleep(1000), deadline=0))


@pytest.mark.parametrize(
    "sent",
    [
        b"\x1b]0;owned\x07" + b"A" * 5000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"B" * 5000 + b"\r\n\r\n",
        b"\x16\x03\x01" + bytes(range(128, 256)) * 16 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_one_short_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    caplog.set_level(logging.DEBUG)
    server = logging.getLogger("aiohttp.server")
    brief = Brief()
    server.addFilter(brief)
    try:
        assert exchange(tmp_path, Nouns(), sent)[9:13] == b"400 "
    finally:
        server.removeFilter(brief)
    told = [logging.Formatter().format(record) for record in caplog.records]
    assert len([line for line in told if "no HTTP" in line]) == 1
    assert all(len(line) < 300 and line.isprintable() for line in told), told


def test_other_errors_of_the_server_are_logged_as_ever() -> None:
    try:
        raise ValueError("a bug")
    except ValueError as error:
        record = logging.LogRecord(
            "aiohttp.server", logging.ERROR, "f", 1, "Unhandled exception", None,
            (type(error), error, error.__traceback__),
        )  # fmt: skip
    assert Brief().filter(record)
    assert "ValueError: a bug" in logging.Formatter().format(record)
