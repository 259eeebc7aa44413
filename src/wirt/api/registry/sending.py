"""Sending a blob: whole or a range of it (RFC 9110, section 14), by sendfile where it can be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import BinaryIO

from aiohttp import web

from wirt.errors import Invalid

PIECE = 8 * 1024 * 1024
PIECE_SECONDS = 300.0
"""A reader must take a piece in this time: who does not read holds nothing for long."""
TLS_CHUNK = 256 * 1024

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)


def parse_range(text: str | None, size: int) -> tuple[int, int] | None:
    """First byte and length of the part that is asked for; None for the whole.

    Several ranges, and units other than bytes, are answered with the whole, as a server may.
    Raises Invalid (416) for a range that is malformed or has nothing of the blob.
    """
    if text is None or "," in text or not text.startswith("bytes="):
        return None
    match = _RANGE.fullmatch(text.strip())
    if match is None or not (match[1] or match[2]):
        raise out_of_range(size)
    if not match[1]:
        length = min(int(match[2]), size)
        first = size - length
    else:
        first = int(match[1])
        last = min(int(match[2]), size - 1) if match[2] else size - 1
        length = last - first + 1
    if length <= 0 or first >= size:
        raise out_of_range(size)
    return first, length


def out_of_range(size: int) -> Invalid:
    """The blob has nothing there."""
    return Invalid(
        f"the blob has {size} bytes and nothing in the range", code="registry.range", size=size
    )


async def send_file(
    request: web.BaseRequest, file: BinaryIO, size: int, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Answer with a file of ``size`` bytes, or the range of it that is asked for; closes it."""
    with file:
        wish = request.headers.get("Range")
        if request.headers.get("If-Range", headers["ETag"]) != headers["ETag"]:
            wish = None
        part = parse_range(wish, size)
        first, length = part or (0, size)
        response = web.StreamResponse(status=206 if part else 200, headers=headers)
        if part:
            response.headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{size}"
        response.content_length = length
        await response.prepare(request)
        if length and request.method != "HEAD":
            await _send(request, response, file, first, length)
        await response.write_eof()
    return response


async def _send(
    request: web.BaseRequest, response: web.StreamResponse, file: BinaryIO, first: int, length: int
) -> None:
    transport = request.transport
    loop = asyncio.get_running_loop()
    end = first + length
    while first < end:
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has closed the connection")
        piece = min(PIECE, end - first)
        async with asyncio.timeout(PIECE_SECONDS):
            if request.secure:
                await _write(response, file, first, piece)
            else:
                sent = await loop.sendfile(transport, file, first, piece)
                if sent != piece:
                    raise ConnectionResetError("the blob is shorter than it was")
        first += piece


async def _write(response: web.StreamResponse, file: BinaryIO, first: int, length: int) -> None:
    def read(at: int, most: int) -> bytes:
        file.seek(at)
        return file.read(most)

    end = first + length
    while first < end:
        data = await asyncio.to_thread(read, first, min(TLS_CHUNK, end - first))
        if not data:
            raise ConnectionResetError("the blob is shorter than it was")
        await response.write(data)
        first += len(data)
