"""From errors to answers: problem JSON and the one table of HTTP statuses."""

from __future__ import annotations

import logging
import secrets

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from wirt.errors import Internal, Kind, Timeout, WirtError, primary

log = logging.getLogger("wirt.api")

STATUS: dict[Kind, int] = {
    Kind.INVALID: 400,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.FORBIDDEN: 403,
    Kind.EXHAUSTED: 507,
    Kind.UNSUPPORTED: 501,
    Kind.UNAVAILABLE: 503,
    Kind.UPSTREAM: 502,
    Kind.TIMEOUT: 504,
    Kind.INTERNAL: 500,
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every error answer. ``facts``: figures and names for programs."""

    kind: str
    code: str
    message: str
    hint: str | None = None
    notes: tuple[str, ...] = ()
    facts: dict[str, str | int] = {}
    request: str = ""


def problem(error: WirtError, request_id: str = "") -> Problem:
    """The wire form of an error."""
    return Problem(
        kind=error.kind.value,
        code=error.code,
        message=error.message,
        hint=error.hint,
        notes=error.notes,
        facts=error.facts,
        request=request_id,
    )


def known_error(error: BaseException) -> WirtError:
    """What is told of an error: a passed deadline is a Timeout, anything unexpected a bug."""
    found = primary(error)
    if isinstance(found, WirtError):
        return found
    if isinstance(found, TimeoutError):
        return Timeout(f"it took too long: {found}" if str(found) else "it took too long")
    return Internal(f"internal error: {type(found).__name__}: {found}")


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception of a handler into a problem answer; bugs are logged with an id."""
    request_id = secrets.token_hex(6)
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        kind = next((k for k, s in STATUS.items() if s == error.status), Kind.INVALID)
        body = Problem(
            kind=kind.value, code=f"http.{error.status}", message=f"{error.reason}: {request.path}"
        )
        return web.Response(
            status=error.status,
            body=msgspec.json.encode(body),
            content_type="application/problem+json",
        )
    except Exception as error:
        known = known_error(error)
        if known.kind is Kind.INTERNAL:
            log.error("request %s %s failed", request_id, request.rel_url, exc_info=error)
            known.hint = (
                known.hint or f"please report it with the log lines of request {request_id}"
            )
        return web.Response(
            status=STATUS[known.kind],
            body=msgspec.json.encode(problem(known, request_id)),
            content_type="application/problem+json",
        )
