"""HTTP for the async client: typed JSON in and out over one pool of connections to the socket."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec
from yarl import URL

from wirt.client.aio.stream import Stream
from wirt.client.daemon import socket_path, unreachable
from wirt.client.wire import Lost, problem, target
from wirt.errors import Internal

T = TypeVar("T")
Query = Iterable[tuple[str, str | int | bool | None]]

BASE = "http://wirt"
READ_SIZE = 262_144


class Transport:
    """Sends requests; failures are WirtErrors, of the class that the daemon raised."""

    def __init__(self, socket: str) -> None:
        self.socket = socket_path(socket)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=self.socket, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def call(
        self, method: str, path: str, kind: type[T], *, query: Query = (), body: Any = None
    ) -> T:
        """The JSON answer as ``kind``. ``path`` is quoted already."""
        data = await self.read(method, path, query=query, body=body)
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise Internal(f"the daemon's answer to {method} {path} is wrong: {error}") from error

    async def do(self, method: str, path: str, *, query: Query = (), body: Any = None) -> int:
        """A request without an answer's body; its status."""
        async with self.begin(method, path, query=query, data=_encoded(body)) as answer:
            return answer.status

    async def read(self, method: str, path: str, *, query: Query = (), body: Any = None) -> bytes:
        """The whole body of an answer."""
        async with self.begin(method, path, query=query, data=_encoded(body)) as answer:
            return await answer.read()

    async def headers(self, path: str, *, query: Query = ()) -> dict[str, str]:
        """The headers of an answer to HEAD, names in lower case."""
        async with self.begin("HEAD", path, query=query) as answer:
            return {name.lower(): value for name, value in answer.headers.items()}

    async def chunks(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        upload: AsyncIterable[bytes] | bytes | None = None,
    ) -> AsyncIterator[bytes]:
        """The body as it comes; ``upload``: the request's body, JSON when it is bytes."""
        async with self.begin(method, path, query=query, data=upload) as answer:
            async for chunk in answer.content.iter_chunked(READ_SIZE):
                yield chunk

    async def lines(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        query: Query = (),
        upload: AsyncIterable[bytes] | bytes | None = None,
    ) -> AsyncIterator[T]:
        """The JSON values of an answer that has one a line."""
        rest = b""
        async for chunk in self.chunks(method, path, query=query, upload=upload):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                if line.strip():
                    yield msgspec.json.decode(line, type=kind)
        if rest.strip():
            yield msgspec.json.decode(rest, type=kind)

    async def stream(self, path: str, *, query: Query = (), tty: bool) -> Stream:
        """A raw stream on a connection of its own."""
        return await Stream.open(self.socket, target(path, query), tty=tty)

    @asynccontextmanager
    async def begin(
        self, method: str, path: str, *, query: Query = (), data: Any = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer whose head has come. Raises the daemon's problem, or Unavailable."""
        where = URL(BASE + target(path, query), encoded=True)
        headers = {"Content-Type": "application/json"} if isinstance(data, bytes) else None
        try:
            async with self._session.request(method, where, data=data, headers=headers) as answer:
                if answer.status >= 400:
                    raise problem(answer.status, await answer.read())
                yield answer
        except aiohttp.ClientConnectorError as error:
            raise unreachable(self.socket, error.os_error) from error
        except aiohttp.ClientError as error:
            raise unreachable(self.socket, Lost(str(error))) from error


def _encoded(body: Any) -> bytes | None:
    return None if body is None else msgspec.json.encode(body)
