"""Getting blobs: piece by piece, never more than was announced, resumed where it broke off.

What comes is checked by the caller (size and digest when it is stored); here are the limits: no
longer than its descriptor, no slower than patience has it, no other part than the asked one.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator

import aiohttp
from yarl import URL

from wirt.errors import Upstream, WirtError
from wirt.image.manifest import Descriptor
from wirt.image.remote import address
from wirt.image.remote.door import FAILURES, Ask, Door, Tries
from wirt.image.remote.pace import Patience
from wirt.image.remote.refusal import broken
from wirt.image.remote.repository import Repository

_PROGRESS = 256 * 1024
"""Bytes that make one try worth another."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:\d{1,18}|\*)", re.ASCII)


async def pieces(body: aiohttp.StreamReader, patience: Patience) -> AsyncGenerator[bytes, None]:
    """A body as it comes. Raises TimeoutError when less than ``least`` bytes come within an
    ``interval``; only time in which we wait counts."""
    loop = asyncio.get_running_loop()
    waited, got = 0.0, 0
    while True:
        before = loop.time()
        async with asyncio.timeout(patience.interval - waited):
            piece = await body.readany()
        waited += loop.time() - before
        got += len(piece)
        if not piece:
            return
        yield piece
        if got >= patience.least:
            waited, got = 0.0, 0
        elif waited >= patience.interval:
            raise TimeoutError


async def blob(repository: Repository, wanted: Descriptor) -> AsyncGenerator[bytes, None]:
    """end-2: a blob's bytes, exactly as many as announced. Raises WirtError."""
    where = f"{repository.name}/blobs/{wanted.digest}"
    async with contextlib.aclosing(
        _resumed(repository.door, where, wanted, scopes=repository.pull)
    ) as stream:
        async for piece in stream:
            yield piece


async def foreign(door: Door, wanted: Descriptor, url: str) -> AsyncGenerator[bytes, None]:
    """A foreign layer from one of its ``urls``. ``door`` has no credentials, and its base is the
    registry that named the address, whose rights to send us there are checked."""
    await door.settle(f"blob {wanted.digest}")
    target = address.follow(door.base, url)
    async with contextlib.aclosing(_resumed(door, target, wanted, scopes=frozenset())) as stream:
        async for piece in stream:
            yield piece


async def _resumed(
    door: Door, where: str | URL, wanted: Descriptor, *, scopes: frozenset[str]
) -> AsyncGenerator[bytes, None]:
    what = f"blob {wanted.digest}"
    tries = Tries(door.transport.patience)
    done = 0
    ranges = True
    while True:
        begun = done
        headers = {"Range": f"bytes={done}-"} if done and ranges else {}
        ask = Ask(
            method="GET",
            where=where,
            what=what,
            headers=headers,
            good=frozenset({200, 206, 416} if headers else {200}),
            scopes=scopes,
        )
        try:
            async with door.ask(ask) as response:
                skip = _skip(response, done, wanted.size)
                if skip is None:
                    ranges = False  # it cannot be resumed: from the start, past what we have
                    continue
                async for piece in pieces(response.content, door.transport.patience):
                    piece, skip = piece[skip:], max(0, skip - len(piece))
                    if not piece:
                        continue
                    done += len(piece)
                    if done > wanted.size:
                        raise _longer(door, wanted)
                    if done - begun >= _PROGRESS:
                        tries.progress()
                    yield piece
                if done == wanted.size:
                    return
                failed: WirtError = _shorter(door, wanted, done)
        except FAILURES as error:
            failed = broken(error, host=door.endpoint.host, what=what)
        await tries.again(failed)


def _skip(response: aiohttp.ClientResponse, done: int, size: int) -> int | None:
    """Bytes to pass over at the start of an answer; None when its part is not the asked one."""
    if response.status == 200:
        return done
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status != 206 or match is None:
        return None
    first, last = int(match[1]), int(match[2])
    return 0 if first == done and last < size else None


def _longer(door: Door, wanted: Descriptor) -> Upstream:
    return Upstream(
        f"{door.endpoint.host} sends more than the {wanted.size} bytes that the blob "
        f"{wanted.digest} has",
        hint="the registry or something before it is broken or lies",
        code="registry.size",
    )


def _shorter(door: Door, wanted: Descriptor, done: int) -> Upstream:
    return Upstream(
        f"{door.endpoint.host} ended the blob {wanted.digest} after {done} of {wanted.size} bytes",
        hint="the registry or something before it is broken or lies",
        code="registry.size",
    )
