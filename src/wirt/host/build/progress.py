"""What a build tells while it goes on: one object a line, in the order in which things happen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

Tell = Callable[[Mapping[str, object]], Awaitable[None]]


class Vertex:
    """One step being told about. ``number``: by which the client groups lines."""

    def __init__(self, tell: Tell, lock: asyncio.Lock, number: int, name: str) -> None:
        self._tell = tell
        self._lock = lock
        self.number = number
        self.name = name
        self._begun = time.monotonic()
        self._told = False

    async def _say(self, **line: object) -> None:
        async with self._lock:
            if not self._told:
                self._told = True
                await self._tell({"step": self.number, "name": self.name})
            await self._tell({"step": self.number, **line})

    async def begin(self) -> None:
        """It really runs now."""
        self._begun = time.monotonic()
        await self._say(status="running")

    async def log(self, stream: int, data: bytes) -> None:
        """Output of the step."""
        await self._say(stream=stream, log=data.decode("utf-8", "replace"))

    async def cached(self) -> None:
        """Its result was there."""
        await self._say(status="cached")

    async def done(self) -> None:
        """It is finished."""
        await self._say(status="done", seconds=round(time.monotonic() - self._begun, 3))

    async def failed(self, message: str) -> None:
        """It went wrong."""
        await self._say(status="failed", error=message)

    async def explain(self, text: str) -> None:
        """Why it was a hit or a miss."""
        await self._say(explain=text)


class Progress:
    """Numbers the steps and keeps lines whole."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._lock = asyncio.Lock()
        self._count = 0

    def vertex(self, name: str) -> Vertex:
        """A new step; it shows when it says something."""
        self._count += 1
        return Vertex(self._tell, self._lock, self._count, name)

    async def ask(self, registry: str) -> None:
        """Have the client give what its user has for a registry."""
        async with self._lock:
            await self._tell({"credentials": registry})

    async def warn(self, line: Mapping[str, object]) -> None:
        """A warning of the checks."""
        async with self._lock:
            await self._tell({"warning": dict(line)})
