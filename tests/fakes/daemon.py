"""A daemon that a test scripts: HTTP/1.1 on a unix socket, one thread a connection.

Routes are ``"METHOD /path"`` with the query cut off; a route gets an :class:`Exchange`. What was
asked is kept in ``requests`` in order of arrival.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote


@dataclass
class Request:
    """One request as it came in. ``query`` keeps order and repetitions."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def one(self, name: str) -> str | None:
        """The query parameter's last value."""
        return dict(self.query).get(name)


@dataclass
class Exchange:
    """A request with the means to answer it."""

    request: Request
    connection: socket.socket
    answered: bool = False
    upgraded: bool = False

    def _head(self, status: int, headers: dict[str, str]) -> bytes:
        self.answered = True
        lines = [f"HTTP/1.1 {status} X", *(f"{k}: {v}" for k, v in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def answer(
        self, value: Any = None, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        """A whole answer; ``value``: bytes as they are, None for no body, anything else as JSON."""
        body = (
            b""
            if value is None
            else value
            if isinstance(value, bytes)
            else json.dumps(value).encode()
        )
        given = dict(headers or {})
        if status not in {204, 304}:
            given["Content-Length"] = str(len(body))
        self.connection.sendall(self._head(status, given) + (b"" if status in {204, 304} else body))

    def problem(
        self, kind: str, message: str, *, status: int, hint: str | None = None, **facts: Any
    ) -> None:
        """A problem answer as the daemon makes it."""
        told = {"kind": kind, "code": f"{kind}.test", "message": message, "facts": facts}
        if hint:
            told["hint"] = hint
        self.answer(told, status=status)

    def begin(self, headers: dict[str, str] | None = None) -> None:
        """The head of a chunked answer, sent at once."""
        self.connection.sendall(
            self._head(200, {"Transfer-Encoding": "chunked", **(headers or {})})
        )

    def chunk(self, data: bytes) -> None:
        """One chunk; empty bytes end the body."""
        self.connection.sendall(b"%x\r\n" % len(data) + data + b"\r\n")

    def upgrade(self, rest: bytes = b"") -> socket.socket:
        """101, then the raw stream; ``rest`` is sent in the same segment as the head."""
        self.upgraded = True
        self.connection.sendall(self._head(101, {"Connection": "Upgrade", "Upgrade": "tcp"}) + rest)
        return self.connection


Route = Callable[[Exchange], None]


def frame(stream: int, data: bytes) -> bytes:
    """One of docker's stream frames."""
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@dataclass
class FakeDaemon:
    """``with FakeDaemon(path) as daemon: daemon.routes["GET /v1/ping"] = ...``."""

    path: Path
    routes: dict[str, Route] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> FakeDaemon:
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self._listen()
        return self

    def _listen(self) -> None:
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(self.path))
        self._server.listen(16)
        self._start(self._accept, self._server)

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive(), "a route did not return"

    def stop(self, *, keep: tuple[socket.socket, ...] = ()) -> None:
        """End like a killed daemon: every connection breaks off, except ``keep``."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.path.unlink(missing_ok=True)
        for connection in self._connections:
            if connection not in keep:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def restart(self) -> None:
        """Listen again after :meth:`stop`."""
        self._listen()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            try:
                while (request := self._read(reader)) is not None:
                    self.requests.append(request)
                    exchange = Exchange(request, connection)
                    route = self.routes.get(f"{request.method} {request.path}")
                    if route is None:
                        exchange.problem("not-found", f"no route {request.path}", status=404)
                    else:
                        route(exchange)
                    if exchange.upgraded:
                        return
            except (OSError, ValueError):
                return

    def _read(self, reader: Any) -> Request | None:
        line = reader.readline()
        if not line:
            return None
        method, where, _ = line.decode().split(" ", 2)
        headers: dict[str, str] = {}
        while (line := reader.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        path, _, query = where.partition("?")
        request = Request(method, unquote(path), parse_qsl(query, keep_blank_values=True), headers)
        if headers.get("transfer-encoding") == "chunked":
            while size := int(reader.readline(), 16):
                request.body += reader.read(size)
                reader.readline()
            reader.readline()
        else:
            request.body = reader.read(int(headers.get("content-length", "0")))
        return request

    def asked(self) -> list[str]:
        """``METHOD /path`` of every request so far."""
        return [f"{request.method} {request.path}" for request in self.requests]

    def last(self, asked: str) -> Request:
        """The youngest request of that kind."""
        return [r for r in self.requests if f"{r.method} {r.path}" == asked][-1]
