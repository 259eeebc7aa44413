"""Reading and writing JSON bodies: typed, bounded, errors with the JSON path."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from aiohttp import web

from wirt.errors import Invalid

T = TypeVar("T")

MAX_JSON = 4 * 1024 * 1024
"""Bytes of a JSON body; anything larger is refused before it is read."""


async def read(request: web.Request, kind: type[T]) -> T:
    """The body decoded as ``kind``. Raises Invalid (with the path of the fault) or 413."""
    if (request.content_length or 0) > MAX_JSON:
        raise web.HTTPRequestEntityTooLarge(
            max_size=MAX_JSON, actual_size=request.content_length or 0
        )
    body = await request.content.read(MAX_JSON + 1)
    while len(body) <= MAX_JSON and (more := await request.content.read(MAX_JSON + 1)):
        body += more
    if len(body) > MAX_JSON:
        raise web.HTTPRequestEntityTooLarge(max_size=MAX_JSON, actual_size=len(body))
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"invalid request body: {error}", code="api.body") from error


def answer(value: Any, *, status: int = 200) -> web.Response:
    """A JSON answer of any model value."""
    return web.Response(
        status=status, body=msgspec.json.encode(value), content_type="application/json"
    )


def flag(request: web.Request, name: str, default: bool = False) -> bool:
    """A query parameter as a truth value: 1/true/yes/on, 0/false/no/off."""
    text = request.query.get(name)
    if text is None or text == "":
        return default
    lowered = text.lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise Invalid(f"query parameter {name}={text!r} is no truth value", hint="write true or false")


def number(request: web.Request, name: str, default: int, *, low: int, high: int) -> int:
    """A query parameter as an integer within a range. Raises Invalid naming it."""
    text = request.query.get(name)
    if text is None or text == "":
        return default
    try:
        value = int(text, 10)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise Invalid(
            f"query parameter {name}={text[:40]!r} is no number from {low} to {high}",
            code="api.query",
        )
    return value
