"""The monitor's one connection: kept, shared, made anew; against QEMUs that do not behave."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from wirt.errors import Unavailable
from wirt.qemu import link, qmp
from wirt.qemu.qmp import Monitor

GREETING = b'{"QMP": {"version": {}, "capabilities": ["oob"]}}\r\n'
EVENT = b'{"timestamp": {"seconds": 1}, "event": "BALLOON_CHANGE", "data": {"actual": 1}}\r\n'


class Qemu:
    """Serves one connection after the other, as QEMU does. ``answers``: what to say to a question,
    by default that all is well."""

    def __init__(self, answer: Callable[[dict[str, Any]], bytes] | None = None) -> None:
        self.connections = 0
        self.asked: list[str] = []
        self.greeting = GREETING
        self.answer = answer or (lambda asked: said(asked, {}))
        self._turn = asyncio.Lock()
        self.writer: asyncio.StreamWriter

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._turn:
            self.connections += 1
            self.writer = writer
            writer.write(self.greeting)
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    asked = json.loads(line)
                    self.asked.append(asked["execute"])
                    is_first = asked["execute"] == "qmp_capabilities"
                    writer.write(said(asked, {}) if is_first else self.answer(asked))
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def idle(self) -> None:
        """Wait until nobody is connected."""
        async with self._turn:
            await asyncio.sleep(0)


def said(asked: dict[str, Any], value: object) -> bytes:
    return json.dumps({"return": value, "id": asked["id"]}).encode() + b"\r\n"


@contextlib.asynccontextmanager
async def monitored(qemu: Qemu, path: Path) -> AsyncIterator[Monitor]:
    server = await asyncio.start_unix_server(qemu.serve, path / "qmp.sock")
    monitor = Monitor(path / "qmp.sock")
    async with asyncio.timeout(20), server:
        try:
            yield monitor
        finally:
            monitor.close()
            await qemu.idle()


def test_one_connection_serves_all_who_ask(tmp_path: Path) -> None:
    def answer(asked: dict[str, Any]) -> bytes:
        sizes = {"base-memory": 7, "plugged-memory": 2}
        leaves, stats = {"actual": 5}, {"stats": {"stat-free-memory": 3}, "last-update": 9}
        known = {"query-memory-size-summary": sizes, "query-balloon": leaves, "qom-get": stats}
        return EVENT + said(asked, known.get(asked["execute"], asked["execute"])) + EVENT

    async def story() -> None:
        qemu = Qemu(answer)
        qemu.greeting = GREETING + EVENT  # before the answer to what the client asks first
        async with monitored(qemu, tmp_path) as monitor:
            names = [f"x-{n}" for n in range(50)]
            assert await asyncio.gather(*map(monitor.execute, names)) == names
            memory, figures = await monitor.told()
            assert (memory.whole, memory.left) == (9, 7)
            assert (figures.at, figures.said) == (9, {"stat-free-memory": 3})
            assert qemu.connections == 1

    asyncio.run(story())


def test_an_end_between_two_questions_is_made_up_for(tmp_path: Path) -> None:
    async def story() -> None:
        qemu = Qemu()
        async with monitored(qemu, tmp_path) as monitor:
            await monitor.stop()
            qemu.writer.close()
            await asyncio.sleep(0.05)
            await monitor.cont()
            assert qemu.connections == 2
            monitor.close()
            with pytest.raises(Unavailable, match="did not carry out stop"):
                await monitor.stop()
            assert qemu.connections == 2

    asyncio.run(story())


@pytest.mark.parametrize(
    "words",
    [
        b"no JSON\n",
        b'{"return": 1, "id": "one"}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
        EVENT * 60_000,
        b"x" * (link.MOST + 1),
        b"",
    ],
    ids=["words", "shape", "depth", "bytes", "events", "line", "end"],
)
def test_who_does_not_speak_the_protocol_is_hung_up_on(tmp_path: Path, words: bytes) -> None:
    """At once, not after the time that an answer may take; and the next question may be luckier."""

    async def story() -> None:
        qemu = Qemu(lambda asked: words)
        async with monitored(qemu, tmp_path) as monitor:
            if not words:
                asyncio.get_running_loop().call_later(0.1, lambda: qemu.writer.close())
            async with asyncio.timeout(qmp.SECONDS - 1):
                with pytest.raises(Unavailable, match="did not carry out stop: it ended"):
                    await monitor.stop()
            qemu.answer = lambda asked: said(asked, {})
            await monitor.stop()
            assert qemu.connections == 2

    asyncio.run(story())


def test_a_late_answer_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the next question's on the same connection nor anybody's on the next one."""
    monkeypatch.setattr(qmp, "SECONDS", 0.3)

    async def story() -> None:
        silent: list[dict[str, Any]] = []

        def answer(asked: dict[str, Any]) -> bytes:
            if asked["execute"] == "stop":
                silent.append(asked)
                return b""
            return b"".join(said(late, "late") for late in silent) + said(asked, "its own")

        qemu = Qemu(answer)
        async with monitored(qemu, tmp_path) as monitor:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):  # who asks gives up
                    await monitor.stop()
            assert await monitor.execute("query-name") == "its own"
            with pytest.raises(Unavailable, match="no answer"):
                await monitor.stop()
            assert await monitor.execute("query-name") == "its own"
            assert qemu.connections == 2

    asyncio.run(story())


def test_a_refusal_is_told_in_plain_words(tmp_path: Path) -> None:
    def answer(asked: dict[str, Any]) -> bytes:
        error = {"class": "GenericError", "desc": "no\x1b[2J way" + "y" * 9999}
        return json.dumps({"error": error, "id": asked["id"]}).encode() + b"\n"

    async def story() -> None:
        qemu = Qemu(answer)
        async with monitored(qemu, tmp_path) as monitor:
            with pytest.raises(Unavailable) as refused:
                await monitor.memory()
            assert "query-memory-size-summary: no?[2J way" in refused.value.message
            assert len(refused.value.message) < 300
            assert qemu.asked == ["qmp_capabilities", "query-memory-size-summary", "query-balloon"]
            with pytest.raises(Unavailable):
                await monitor.stop()
            assert qemu.connections == 1, "a refusal is an answer as well"

    asyncio.run(story())


def test_nobody_there_is_told_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(Unavailable, match="did not carry out stop"):
            await Monitor(tmp_path / "qmp.sock").stop()

    asyncio.run(story())
