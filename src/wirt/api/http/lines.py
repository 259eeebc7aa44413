"""Streaming answers: headers at once, then one JSON object a line, or bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

NDJSON = "application/x-ndjson"
OCTETS = "application/octet-stream"


async def begin(request: web.Request, content_type: str) -> web.StreamResponse:
    """Send status 200 and the headers now; the body follows in chunks."""
    response = web.StreamResponse(headers={"Content-Type": content_type})
    response.enable_chunked_encoding()
    await response.prepare(request)
    return response


async def send_lines(request: web.Request, values: AsyncIterator[object]) -> web.StreamResponse:
    """One JSON object a line, flushed each."""
    response = await begin(request, NDJSON)
    async for value in values:
        await response.write(msgspec.json.encode(value) + b"\n")
    await response.write_eof()
    return response


async def send_bytes(request: web.Request, chunks: AsyncIterator[bytes]) -> web.StreamResponse:
    """Bytes as they come. The first chunk is awaited before the headers, so its errors count."""
    iterator = aiter(chunks)
    try:
        first = await anext(iterator)
    except StopAsyncIteration:
        first = b""
    response = await begin(request, OCTETS)
    if first:
        await response.write(first)
    async for chunk in iterator:
        await response.write(chunk)
    await response.write_eof()
    return response
