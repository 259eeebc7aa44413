"""What a route takes and gives, said beside its handler; the OpenAPI document comes from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from aiohttp import web

import wirt
from wirt.api.http.problem import Problem

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__operation__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """``body`` and ``answer``: a type, or a media type as text (``"application/x-tar"``), or None.

    ``query``: names of query parameters. ``lines``: the answer is a stream of JSON lines.
    ``wakes``: the guest that the path names is woken first, if it sleeps.
    """

    summary: str
    query: tuple[str, ...] = ()
    body: Any = None
    answer: Any = None
    status: int = 200
    lines: bool = False
    wakes: bool = False


def operation(
    summary: str,
    *,
    query: Iterable[str] = (),
    body: Any = None,
    answer: Any = None,
    status: int = 200,
    lines: bool = False,
    wakes: bool = False,
) -> Callable[[F], F]:
    """Mark a handler with what it takes and gives."""

    def mark(handler: F) -> F:
        made = Operation(
            summary=summary,
            query=tuple(query),
            body=body,
            answer=answer,
            status=status,
            lines=lines,
            wakes=wakes,
        )
        setattr(handler, _MARK, made)
        return handler

    return mark


def operation_of(route: web.RouteDef) -> Operation | None:
    """What was said about a route's handler, or None."""
    function = getattr(route.handler, "__func__", route.handler)
    found = getattr(function, _MARK, None)
    return found if isinstance(found, Operation) else None


def openapi(routes: Iterable[web.RouteDef]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes, generated from their types."""
    routes = [route for route in routes if operation_of(route) is not None]
    types = [
        kind
        for route in routes
        if (said := operation_of(route)) is not None
        for kind in (said.body, said.answer)
        if kind is not None and not isinstance(kind, str)
    ]
    types.append(Problem)
    schemas, components = msgspec.json.schema_components(
        types, schema_hook=_anything, ref_template="#/components/schemas/{name}"
    )
    by_type = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in sorted(routes, key=lambda known: (known.path, known.method)):
        path = route.path.replace(":.+}", "}").replace(":.*}", "}")
        said = operation_of(route)
        assert said is not None
        paths.setdefault(path, {})[route.method.lower()] = _describe(path, said, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "wirt", "version": wirt.__version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _anything(kind: type) -> dict[str, Any]:
    """The schema of types that stand for any JSON value."""
    if kind in {object, msgspec.Raw}:
        return {"description": "any JSON value"}
    raise NotImplementedError(kind)


def _describe(path: str, said: Operation, by_type: dict[int, Any]) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
        for name in said.query
    ]
    described: dict[str, Any] = {
        "summary": said.summary,
        "parameters": parameters,
        "responses": {
            str(said.status): {
                "description": said.summary,
                **_content(said.answer, by_type, lines=said.lines),
            },
            "default": {
                "description": "an error",
                **_content(Problem, {**by_type}, media="application/problem+json"),
            },
        },
    }
    if said.body is not None:
        described["requestBody"] = {"required": True, **_content(said.body, by_type)}
    return described


def _content(
    kind: Any, by_type: dict[int, Any], *, lines: bool = False, media: str = ""
) -> dict[str, Any]:
    if kind is None:
        return {}
    if isinstance(kind, str):
        return {"content": {kind: {}}}
    media = media or ("application/x-ndjson" if lines else "application/json")
    return {"content": {media: {"schema": by_type[id(kind)]}}}
