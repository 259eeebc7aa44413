"""Take the connection away from HTTP: what docker calls a hijack.

After ``101 UPGRADED`` (or ``200 OK`` for a client that asked for no upgrade) the socket is the
stream itself. The handler gets a duplicate of the socket, gives it to a keeper, and returns
:class:`Hijacked`, which makes aiohttp close its own copy without a word: closing one of two
descriptors of a socket sends nothing (close(2)).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from wirt.errors import Unavailable, WirtError

log = logging.getLogger("wirt.api")

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


class Hijacked(web.StreamResponse):
    """The answer of a handler that has taken the connection: nothing more is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


def take_socket(request: web.Request, *, tty: bool) -> int:
    """Answer the request's head and return a descriptor of its connection, now ours.

    Raises Unavailable when the client has gone meanwhile.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        raise Unavailable("the client has closed the connection")
    transport.pause_reading()
    connection: socket.socket = transport.get_extra_info("socket")
    descriptor = os.dup(connection.fileno())
    try:
        os.write(descriptor, _head(request, tty=tty))
    except OSError as error:
        os.close(descriptor)
        raise Unavailable("the client has closed the connection") from error
    return descriptor


async def hand_over(request: web.Request, work: Awaitable[object]) -> Hijacked:
    """Wait for what is done with a socket that :func:`take_socket` has taken.

    The head is sent and the connection is the guest's: an answer about an error would be read as
    its output. The stream just ends; ``wait`` tells the client code and reason.
    """
    try:
        await work
    except WirtError as error:
        log.info("%s %s: hung up: %s", request.method, request.path, error.message)
    except Exception:
        log.exception("%s %s: hung up", request.method, request.path)
    return Hijacked()


def _head(request: web.Request, *, tty: bool) -> bytes:
    kind = RAW if tty else MULTIPLEXED
    if request.headers.get("Upgrade"):
        return (
            "HTTP/1.1 101 UPGRADED\r\n"
            f"Content-Type: {kind}\r\n"
            "Connection: Upgrade\r\n"
            "Upgrade: tcp\r\n\r\n"
        ).encode("ascii")
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode("ascii")
