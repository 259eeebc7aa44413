"""``# syntax=``, ``# escape=`` and ``# check=`` at the very top of a file.

They end at the first line that is none: a blank line, another comment, an instruction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from wirt.image.build.dockerfile.ast import Directives, Position
from wirt.image.build.dockerfile.problem import located, one_of, show
from wirt.image.build.dockerfile.words import BLANK

_DIRECTIVE = re.compile(r"#[ \t\v\f\r]*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_KNOWN = ("syntax", "escape", "check")
_FRONTEND = re.compile(r"(?:docker\.io/)?docker/dockerfile[a-z0-9._-]*(?:[:@][\w.:-]+)?", re.ASCII)


def read(lines: Sequence[str], name: str) -> tuple[Directives, int]:
    """The directives, and how many lines they take. Raises Invalid."""
    found = Directives()
    seen: set[str] = set()
    for index, line in enumerate(lines):
        match = _DIRECTIVE.fullmatch(line.strip(BLANK))
        key = match[1].lower() if match else ""
        if match is None or key not in _KNOWN:
            return found, index
        shift = len(line) - len(line.lstrip(BLANK))
        if key in seen:
            raise located(
                name,
                Position(index + 1, shift + match.start(1) + 1),
                f"the directive {key!r} is given a second time",
                hint="give each directive once",
            )
        seen.add(key)
        place = Position(index + 1, shift + match.start(2) + 1)
        found = _apply(found, key, match[2], name, place)
    return found, len(lines)


def _apply(found: Directives, key: str, value: str, name: str, place: Position) -> Directives:
    match key:
        case "escape":
            if value not in {"\\", "`"}:
                raise located(
                    name,
                    place,
                    f"the escape character {show(value)} is not known",
                    hint="expected \\ or `",
                )
            return replace(found, escape=value)
        case "syntax":
            if not _FRONTEND.fullmatch(value):
                raise located(
                    name,
                    place,
                    f"the syntax {show(value)} is not known here",
                    hint="only docker/dockerfile is built in; no frontend image is run",
                )
            return replace(found, syntax=value)
        case _:
            return check(found, value, name, place)


def check(found: Directives, value: str, name: str, place: Position) -> Directives:
    """``skip=A,B;error=true;experimental=C``, also given as the build argument
    ``BUILDKIT_DOCKERFILE_CHECK``. Raises Invalid."""
    for part in value.split(";"):
        option, equals, words = part.strip().partition("=")
        listed = frozenset(word.strip().lower() for word in words.split(",") if word.strip())
        match option.strip().lower():
            case "skip":
                found = replace(found, skip=listed)
            case "experimental":
                found = replace(found, experimental=listed)
            case "error" if words.strip().lower() in {"true", "1", "false", "0"}:
                found = replace(found, failing=words.strip().lower() in {"true", "1"})
            case "error":
                raise located(
                    name,
                    place,
                    f"the check option 'error' is {show(words)}",
                    hint="expected true or false",
                )
            case "" if not equals:
                continue
            case other:
                raise located(
                    name,
                    place,
                    f"the check option {show(other)} is not known",
                    hint=one_of(other, ("skip", "error", "experimental")),
                )
    return found
