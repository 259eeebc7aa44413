"""``/token``: whoever proves who they are gets a token for what they may do (distribution,
"Docker Registry Token Authentication"; POST as OAuth 2, RFC 6749, section 4.3)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from urllib.parse import parse_qs

import msgspec
from aiohttp import web

from wirt.api.registry.caller import Caller
from wirt.api.registry.visit import Visit
from wirt.errors import Invalid
from wirt.host.registry.refusals import unauthorized
from wirt.host.registry.tokens import CATALOG, LIFE_SECONDS, Grant, Scope, parse_scopes
from wirt.model.registry import Right

MAX_FORM = 64 * 1024
MAX_FIELDS = 200


async def get(visit: Visit) -> web.StreamResponse:
    """For the user of the Basic credentials, or for anybody."""
    query = visit.request.query
    _check_service(visit, query.get("service"))
    return _answer(visit, visit.caller, query.getall("scope", []))


async def post(visit: Visit) -> web.StreamResponse:
    """For the user that the form names (``grant_type=password``)."""
    data = await visit.body(MAX_FORM)
    try:
        form = parse_qs(data.decode("utf-8"), max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise Invalid("the form is malformed", code="registry.query") from error
    first = {key: values[0] for key, values in form.items()}
    _check_service(visit, first.get("service"))
    if first.get("grant_type") != "password":
        raise unauthorized("the registry with grant_type=password")
    caller = await visit.gate.login(first.get("username", ""), first.get("password", ""))
    return _answer(visit, caller, form.get("scope", []))


def _check_service(visit: Visit, service: str | None) -> None:
    if service not in {None, visit.gate.service}:
        raise Invalid("tokens for other services are not made here", code="registry.query")


def _granted(caller: Caller, scope: Scope) -> frozenset[Right]:
    """What somebody gets of what they ask for; the list is cut to what they may pull later."""
    if scope.repository == CATALOG:
        return scope.rights
    return caller.access.rights(caller.user, scope.repository) & scope.rights


def _answer(visit: Visit, caller: Caller, scopes: Iterable[str]) -> web.Response:
    gate = visit.gate
    rights = {
        scope.repository: found
        for scope in parse_scopes(scopes)
        if (found := _granted(caller, scope))
    }
    token = gate.tokens.make(Grant(user=caller.user, rights=rights), gate.service)
    now = datetime.datetime.now(tz=datetime.UTC)
    node = {
        "token": token,
        "access_token": token,
        "expires_in": LIFE_SECONDS,
        "issued_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return web.Response(
        body=msgspec.json.encode(node),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
