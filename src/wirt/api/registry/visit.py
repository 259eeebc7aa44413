"""One request on its way through the registry, and what is read from its head and body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from wirt.api.registry.caller import Caller, Gate
from wirt.api.registry.route import Target
from wirt.errors import Invalid, Timeout, Unsupported
from wirt.host.registry.refusals import bad_digest, too_large
from wirt.model.image import Digest
from wirt.model.registry import Right

WINDOW_SECONDS = 60.0
WINDOW_BYTES = 64 * 1024
"""A body must bring so many bytes in so many seconds, or end: who sends one byte a minute holds
nothing for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request with its meaning and its sender. ``gate``: the listener it came to. ``common``:
    headers of every answer; only who sends an answer's head by itself needs them."""

    request: web.BaseRequest
    target: Target
    caller: Caller
    gate: Gate
    common: Mapping[str, str]

    @property
    def name(self) -> str:
        """The repository."""
        return self.target.name

    @property
    def query(self) -> Mapping[str, str]:
        """The query; of a name that occurs twice the first value."""
        return self.request.query

    def need(self, right: Right) -> None:
        """Raise Forbidden unless the caller has this right to the repository."""
        if not self.caller.may(right, self.name):
            raise self.gate.refuse(self.caller, right, self.name)

    def digest(self, text: str | None = None) -> Digest:
        """The digest in the path, or in ``text``. Raises Invalid."""
        return digest(self.target.reference if text is None else text)

    def number(self, key: str) -> int | None:
        """A query parameter that is a number from 0, None when absent. Raises Invalid."""
        text = self.query.get(key)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit()) or len(text) > 18:
            raise Invalid(
                f"the query parameter {key}={text[:40]!r} is no number from 0",
                code="registry.query",
            )
        return int(text)

    def last(self) -> str:
        """The query parameter ``last``: where the last page ended. Raises Invalid."""
        text = self.query.get("last", "")
        if len(text) > 300 or not text.isprintable() or not text.isascii():
            raise Invalid("the query parameter 'last' is no name", code="registry.query")
        return text

    def next_link(self, **query: str) -> str:
        """The Link header that leads to the next page."""
        return f'<{self.request.path}?{urlencode(query)}>; rel="next"'

    def has_body(self) -> bool:
        """Whether a body follows the head."""
        return self.request.can_read_body

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises Timeout for one that drips, Unsupported for a packed one."""
        request = self.request
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Unsupported("a packed body is not understood", code="registry.encoding")
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        loop = asyncio.get_running_loop()
        end, come = loop.time() + WINDOW_SECONDS, 0
        while True:
            try:
                async with asyncio.timeout_at(end):
                    chunk, part_ended = await request.content.readchunk()
            except TimeoutError as error:
                raise Timeout("the body comes too slowly", code="registry.too-slow") from error
            if not chunk and not part_ended:
                return
            come += len(chunk)
            if come >= WINDOW_BYTES:
                end, come = loop.time() + WINDOW_SECONDS, 0
            yield chunk

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises Exhausted beyond ``limit`` bytes, before reading if it says so."""
        if (self.request.content_length or 0) > limit:
            raise too_large(limit)
        parts: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            parts.append(chunk)
        return b"".join(parts)


def digest(text: str) -> Digest:
    """A digest. Raises Invalid with the registry's code."""
    try:
        return Digest.parse(text)
    except Invalid as error:
        raise bad_digest(error.message) from error
