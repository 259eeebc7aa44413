"""An answer that tells the progress of long work, one JSON object a line.

Until the first line nothing is sent, so an error before it has its proper status. Afterwards the
status is 200 for good, and an error is the last line: ``{"problem": ...}``.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec
from aiohttp import web

from wirt.api.http.problem import known_error, problem

Tell = Callable[[Mapping[str, object]], Awaitable[None]]


Work = Callable[[Tell], Awaitable[AsyncIterator[bytes] | None]]


async def told(request: web.Request, work: Work) -> web.StreamResponse:
    """Run ``work``, which tells its progress. A client that went away stops hearing, not the
    work: what breaks the work off is the end of its body. Bytes that the work gives follow its
    lines; when they break off, so does the answer."""
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})

    async def tell(line: Mapping[str, object]) -> None:
        if not response.prepared:
            response.enable_chunked_encoding()
            await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            await response.write(msgspec.json.encode(line) + b"\n")

    rest: AsyncIterator[bytes] | None = None
    try:
        rest = await work(tell)
    except Exception as error:
        if not response.prepared:
            raise
        await tell({"problem": problem(known_error(error))})
    if not response.prepared:
        await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        if rest is not None:
            async for chunk in rest:
                await response.write(chunk)
        await response.write_eof()
    return response
