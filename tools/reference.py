#!/usr/bin/env python3
"""Write the reference pages that follow from the source. A test compares them, so none drifts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from aiohttp import web

import dockerfilepage
import kinds
import wirt.api.native
from wirt import discover
from wirt.api.http.operation import openapi
from wirt.api.http.problem import STATUS
from wirt.cli import reference as commands
from wirt.cli.exit import EXIT
from wirt.errors import BY_KIND, Kind

ROOT = Path(__file__).resolve().parent.parent


def errors() -> str:
    """What can go wrong: kind, HTTP status, exit code, what the caller can do."""
    lines = [
        "# Errors",
        "",
        "Every error is one sentence that names what was asked, and a hint what would help.",
        "Its kind decides the status of the API's answer (`application/problem+json`, see",
        "[the API](api.md)) and the exit code of `wirt`. `code` in the answer is finer and",
        "stable (`network.in-use`); programs may match it.",
        "Those of a Dockerfile begin with file, line and column: see",
        "[the language](dockerfile.md).",
        "",
        "| kind | HTTP | exit code | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for kind in Kind:
        meaning = (BY_KIND[kind].__doc__ or "").strip().rstrip(".")
        lines.append(f"| `{kind.value}` | {STATUS[kind]} | {EXIT[kind]} | {meaning} |")
    lines += [
        "",
        "`run`, `create` and `exec` follow docker instead: the guest's own code, 125 when wirt",
        "could not, 126 when the program cannot be executed, 127 when it is not there, 128 + n",
        "when signal n ended it.",
    ]
    return "\n".join(lines) + "\n"


def document() -> str:
    """The OpenAPI document of the native API, from the types of its handlers."""
    return json.dumps(openapi(all_routes()), indent=1, sort_keys=True) + "\n"


class Table(Protocol):
    """A noun of the API."""

    def routes(self) -> list[web.RouteDef]: ...


def all_routes() -> list[web.RouteDef]:
    """The routes of every noun: their tables need no instance that works."""
    nouns: list[type[Table]] = [
        noun
        for module in discover.modules(wirt.api.native)
        for noun in vars(module).values()
        if isinstance(noun, type) and noun.__module__ == module.__name__ and hasattr(noun, "routes")
    ]
    return [route for noun in nouns for route in noun.__new__(noun).routes()]


PAGES: Mapping[str, Callable[[], str]] = {
    "docs/reference/cli.md": commands.markdown,
    "docs/reference/dockerfile.md": dockerfilepage.page,
    "docs/reference/errors.md": errors,
    "docs/reference/kinds.md": kinds.page,
    "docs/reference/openapi.json": document,
}
"""Path of each generated page, and what makes its text."""


def main() -> None:
    for name, make in PAGES.items():
        (ROOT / name).write_text(make())
        print(name)


if __name__ == "__main__":
    main()
