"""An answer whose bytes come as they are made."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping

from aiohttp import web


async def streamed(
    request: web.Request, stream: AsyncGenerator[bytes, None], headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer with the bytes of ``stream``, which is closed.

    An error before the first byte has its proper status; one after it breaks the connection off,
    so that nobody takes a part for the whole.
    """
    response = web.StreamResponse(headers=headers)
    async with contextlib.aclosing(stream):
        try:
            async for chunk in stream:
                if not response.prepared:
                    response.enable_chunked_encoding()
                    await response.prepare(request)
                await response.write(chunk)
        except Exception:
            if not response.prepared or request.transport is None:
                raise
            request.transport.abort()
            raise
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof()
    return response
