"""SSH agents of clients: idle connections that a client holds ready, one taken for each use.

The client connects first, since the daemon may not reach its agent: it is another user's socket.
A connection says which build it is for by the build's token, which only that client knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterator

from wirt.errors import Invalid, NotFound, Unavailable
from wirt.image.build.step import Stream

GO = b"\x01"
"""What the client waits for before it connects to its agent."""
MOST = 64
"""Idle connections of one build."""
PATIENCE = 10.0
"""Seconds that a step waits for a connection."""
_TOKEN = re.compile(r"[0-9a-f]{32}", re.ASCII)

Idle = asyncio.Queue[socket.socket]


class Agents:
    """Idle connections by build and agent. Belongs to one event loop."""

    def __init__(self) -> None:
        self._builds: dict[str, dict[str, Idle]] = {}

    @contextlib.contextmanager
    def expect(self, token: str, names: tuple[str, ...]) -> Iterator[None]:
        """Take connections for a build while the block runs; those left are closed then.

        ``token``: 32 hex digits, or empty for a build without agents. Raises Invalid.
        """
        if not names:
            yield
            return
        if not _TOKEN.fullmatch(token) or token in self._builds:
            raise Invalid("the token of the build's agents makes no sense", code="build.ssh")
        self._builds[token] = {name: asyncio.Queue(MOST) for name in names}
        try:
            yield
        finally:
            for idle in self._builds.pop(token).values():
                while not idle.empty():
                    idle.get_nowait().close()

    def require(self, token: str, name: str) -> None:
        """Raise NotFound unless a build waits for connections to this agent."""
        if name not in self._builds.get(token, {}):
            raise NotFound("no build waits for this agent", code="build.no-agent")

    def give(self, token: str, name: str, descriptor: int) -> None:
        """Hold a client's connection ready. The descriptor is ours from now on."""
        connection = socket.socket(fileno=descriptor)
        connection.setblocking(False)
        try:
            self._builds[token][name].put_nowait(connection)
        except (KeyError, asyncio.QueueFull):
            connection.close()

    async def connect(self, token: str, name: str) -> Stream:
        """A new connection to the client's agent. Raises Unavailable when none comes in time."""
        idle = self._builds.get(token, {}).get(name)
        if idle is None:
            raise Unavailable(f"the SSH agent {name[:80]!r} was not given", code="build.ssh")
        try:
            connection = await asyncio.wait_for(idle.get(), PATIENCE)
        except TimeoutError:
            raise Unavailable("the client's SSH agent does not come", code="build.ssh") from None
        reader, writer = await asyncio.open_connection(sock=connection)
        writer.write(GO)
        await writer.drain()
        return reader, writer
