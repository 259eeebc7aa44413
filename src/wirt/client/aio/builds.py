"""The async client's builds."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from wirt.client.aio.answers import Built
from wirt.client.aio.transport import Transport
from wirt.client.wire import problem
from wirt.errors import Internal

Ask = Callable[[str], Awaitable[Mapping[str, str] | None]]
"""What the user has for a registry: username and password, or identity_token; None for nothing."""
Hear = Callable[[Mapping[str, Any]], None]
"""Told of each line of progress (docs/reference/api.md)."""
_END = bytes(1024)
"""An archive without files."""


class Builds:
    """Images from Dockerfiles."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def run(
        self,
        dockerfile: str | None = None,
        *,
        context: AsyncIterable[bytes] | None = None,
        credentials: Ask | None = None,
        hear: Hear | None = None,
        **wish: Any,
    ) -> Built:
        """Build an image. ``dockerfile``: its text; None: it is in the context. ``context``: a tar.
        ``credentials``: asked when a registry of a base image wants to know who comes, once for
        each. ``wish``: tags, target, args and all the other fields of BuildWish but ``output``.
        """
        token = secrets.token_hex(16) if credentials is not None else ""
        asked = {"dockerfile": dockerfile, "credentials_token": token, **wish}
        body = _body(msgspec.json.encode(asked), context)
        async for line in self._transport.lines("POST", "/v1/build", dict[str, Any], upload=body):
            if "problem" in line:
                raise problem(0, msgspec.json.encode(line["problem"]))
            if "image" in line:
                return msgspec.convert(line, Built)
            if "credentials" in line and credentials is not None:
                await self._answer(token, str(line["credentials"]), credentials)
            elif hear is not None:
                hear(line)
        raise Internal("the daemon did not say what was built")

    async def _answer(self, token: str, registry: str, credentials: Ask) -> None:
        found = await credentials(registry)
        told = {"registry": registry, **({"credentials": dict(found)} if found else {})}
        await self._transport.do("POST", f"/v1/build/credentials/{token}", body=told)


async def _body(head: bytes, context: AsyncIterable[bytes] | None) -> AsyncIterator[bytes]:
    yield len(head).to_bytes(4, "big") + head
    if context is None:
        yield _END
        return
    async for chunk in context:
        yield chunk
