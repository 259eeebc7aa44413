"""Asking other resolvers: every question from a port and with a number nobody can guess.

An answer counts only when it comes from the server asked, with our number and our question
(RFC 5452).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Sequence
from ipaddress import ip_address

ATTEMPT_SECONDS = 1.5
ROUNDS = 2
PORT = 53
MAX_MESSAGE = 65_535
_HEADER = 12
_SERVER_FAILURE = 2
_REFUSED = 5


def question_end(message: bytes) -> int | None:
    """Where the only question of a message ends, None when it has not exactly one, whole one."""
    if len(message) < _HEADER or message[4:6] != b"\0\1":
        return None
    at = _HEADER
    while at < len(message) and message[at]:
        if message[at] > 63:
            return None
        at += 1 + message[at]
    end = at + 5
    return end if end <= len(message) and end - _HEADER <= 255 + 5 else None


class Forwarder:
    """Passes questions on. ``timeout``: seconds for each attempt. ``limit``: at a time."""

    def __init__(
        self, *, timeout: float = ATTEMPT_SECONDS, limit: int = 512, port: int = PORT
    ) -> None:
        self._timeout = timeout
        self._port = port
        self._free = limit

    async def ask(self, query: bytes, servers: Sequence[str], *, tcp: bool = False) -> bytes | None:
        """The answer of the first server that has one, None when none has, or too many ask.

        A server that fails or refuses is passed over unless all do.
        """
        if not self._free or question_end(query) is None:
            return None
        self._free -= 1
        try:
            return await self._ask(query, servers, tcp)
        finally:
            self._free += 1

    async def _ask(self, query: bytes, servers: Sequence[str], tcp: bool) -> bytes | None:
        unhelpful = None
        for server in tuple(servers) * ROUNDS:
            try:
                async with asyncio.timeout(self._timeout):
                    attempt = self._by_tcp if tcp else self._by_udp
                    answer = await attempt(query, server)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                continue
            if answer[3] & 0x0F not in {_SERVER_FAILURE, _REFUSED}:
                return answer
            unhelpful = answer
        return unhelpful

    async def _by_udp(self, query: bytes, server: str) -> bytes:
        number = secrets.token_bytes(2)
        family = socket.AF_INET6 if ip_address(server).version == 6 else socket.AF_INET
        loop = asyncio.get_running_loop()
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect((server, self._port))
            await loop.sock_sendall(sock, number + query[2:])
            while True:
                answer = await loop.sock_recv(sock, MAX_MESSAGE)
                if _answers(answer, number, query):
                    return query[:2] + answer[2:]

    async def _by_tcp(self, query: bytes, server: str) -> bytes:
        number = secrets.token_bytes(2)
        reader, writer = await asyncio.open_connection(server, self._port)
        try:
            writer.write(len(query).to_bytes(2, "big") + number + query[2:])
            length = int.from_bytes(await reader.readexactly(2), "big")
            answer = await reader.readexactly(length)
        finally:
            writer.close()
        if not _answers(answer, number, query):
            raise ConnectionError(f"{server} answered another question")
        return query[:2] + answer[2:]


def _answers(answer: bytes, number: bytes, query: bytes) -> bool:
    """Whether this is an answer to the question, whose letters' case may have changed."""
    end = question_end(answer)
    if end is None or answer[:2] != number or not answer[2] & 0x80:
        return False
    return end == question_end(query) and answer[12:end].lower() == query[12:end].lower()
