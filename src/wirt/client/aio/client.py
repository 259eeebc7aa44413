"""The async client: one object per noun, typed from end to end.

::

    async with Client("/run/wirt/wirt.sock") as wirt:
        done = await wirt.guests.run("busybox", "uname", "-a", isolation=Isolation.MICROVM)
        print(done.code, done.stdout)

Needs aiohttp and msgspec, unlike the command line; errors are those of :mod:`wirt.errors`.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from wirt.client.aio.builds import Builds
from wirt.client.aio.groups import Groups
from wirt.client.aio.guests import Execs, Guests
from wirt.client.aio.things import Files, Images, Networks, System, Volumes
from wirt.client.aio.transport import Transport
from wirt.client.daemon import DEFAULT_SOCKET


class Client:
    """A daemon. ``socket``: a path or ``unix://`` URL. Use it as an async context manager."""

    def __init__(self, socket: str = DEFAULT_SOCKET) -> None:
        self._transport = Transport(socket)
        self.guests = Guests(self._transport)
        self.execs = Execs(self._transport)
        self.groups = Groups(self._transport)
        self.images = Images(self._transport)
        self.builds = Builds(self._transport)
        self.networks = Networks(self._transport)
        self.volumes = Volumes(self._transport)
        self.files = Files(self._transport)
        self.system = System(self._transport)

    @classmethod
    async def connect(cls, socket: str = DEFAULT_SOCKET) -> Self:
        """A client whose daemon answers. Raises Unavailable or Forbidden."""
        made = cls(socket)
        try:
            await made.system.ping()
        except BaseException:
            await made.close()
            raise
        return made

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
