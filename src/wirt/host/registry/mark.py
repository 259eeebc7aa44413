"""Does this connection lead to ourselves? A daemon that pushes to its own registry copies nothing,
so it must know, and must not be fooled.

The client sends a challenge; the registry answers with an HMAC of the challenge and of the address
that it sees at the other end of the connection. The client compares with its own end. A stranger
who passes challenge and answer on is at another address, and nobody else has the key.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import ssl

CHALLENGE = "Wirt-Challenge"
ANSWER = "Wirt-Instance"
ASK_SECONDS = 5.0
MAX_HEAD = 16384
_LONGEST = 64


class Mark:
    """One per daemon. The key lives as long as the daemon."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    @staticmethod
    def challenge() -> str:
        """A fresh value for the request header :data:`CHALLENGE`."""
        return secrets.token_hex(16)

    def answer(self, challenge: str, peer: tuple[str, int]) -> str:
        """The value of the answer's header :data:`ANSWER`. ``peer``: the client's address and port
        as the server sees them."""
        said = f"{challenge[:_LONGEST]}\0{peer[0]}\0{peer[1]}".encode()
        return hmac.digest(self._key, said, hashlib.sha256).hex()

    def proves(self, challenge: str, answer: str, own: tuple[str, int]) -> bool:
        """Whether ``answer`` came from this daemon over this very connection. ``own``: address and
        port of the client's end."""
        expected = self.answer(challenge, own)
        return hmac.compare_digest(expected.encode(), answer.encode())

    async def leads_here(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> bool:
        """Whether a connection to this address ends in this daemon. False also when nobody answers
        there; whoever wants to know why connects themselves."""
        try:
            async with asyncio.timeout(ASK_SECONDS):
                reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=MAX_HEAD)
                try:
                    return await self._ask(reader, writer, host)
                finally:
                    writer.close()
        except (OSError, TimeoutError, ssl.SSLError, EOFError, asyncio.LimitOverrunError):
            return False

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str
    ) -> bool:
        challenge = self.challenge()
        named = f"[{host}]" if ":" in host else host
        writer.write(
            f"GET /v2/ HTTP/1.1\r\nHost: {named}\r\n{CHALLENGE}: {challenge}\r\n"
            "Connection: close\r\n\r\n".encode("ascii", "ignore")
        )
        head = await reader.readuntil(b"\r\n\r\n")
        own = writer.get_extra_info("sockname")
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == ANSWER.lower():
                return self.proves(challenge, value.strip(), (str(own[0]), int(own[1])))
        return False
