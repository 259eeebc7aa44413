"""Patterns of file names as Dockerfiles and ``.dockerignore`` use them.

Two languages: :func:`component` is Go's ``path/filepath.Match`` for one name (``*``, ``?``,
``[a-z]``, ``[^a]``, ``\\`` escapes); :class:`Ignore` is a list of rules over whole paths, in which
``**`` crosses directories, ``!`` takes back, and the last rule that matches decides.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from wirt.errors import Invalid

MAX_RULES = 10_000
_MAX_LENGTH = 4096
_WILD = frozenset("*?[\\")


def bad(pattern: str) -> Invalid:
    """The error for a pattern that means nothing."""
    return Invalid(
        f"the pattern {pattern[:200]!r} is malformed",
        hint="a '[' needs its ']', and a backslash something to escape",
        code="pattern.malformed",
    )


def is_wild(text: str) -> bool:
    """Whether a name is a pattern rather than itself."""
    return not _WILD.isdisjoint(text)


def component(pattern: str) -> re.Pattern[str]:
    """One name's pattern, to be used with ``fullmatch``. Raises Invalid."""
    return _compile("".join(_translate(pattern, deep=False)), pattern)


def _compile(text: str, pattern: str) -> re.Pattern[str]:
    if len(pattern) > _MAX_LENGTH:
        raise bad(pattern)
    try:
        return re.compile(text, re.DOTALL)
    except re.error as error:
        raise bad(pattern) from error


def _translate(pattern: str, *, deep: bool) -> Iterable[str]:
    """The pieces of a regular expression. ``deep``: ``**`` matches any number of directories."""
    at, end = 0, len(pattern)
    while at < end:
        char = pattern[at]
        at += 1
        if char == "*":
            if not deep or pattern[at : at + 1] != "*":
                yield "[^/]*"
                continue
            at += 1
            if pattern[at : at + 1] == "/":
                at += 1
            yield ".*" if at >= end else "(?:.*/)?"
        elif char == "?":
            yield "[^/]"
        elif char == "[":
            at, text = _class(pattern, at)
            yield text
        elif char == "\\":
            if at >= end:
                raise bad(pattern)
            yield re.escape(pattern[at])
            at += 1
        else:
            yield re.escape(char)


def _class(pattern: str, at: int) -> tuple[int, str]:
    """``[...]`` from after its bracket: where it ends, and the expression."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while pattern[at : at + 1] != "]" or not ranges:
        at, low = _member(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            at, high = _member(pattern, at + 1)
        if low > high:
            raise bad(pattern)
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return at + 1, f"(?!/)[{'^' if negated else ''}{''.join(ranges)}]"


def _member(pattern: str, at: int) -> tuple[int, str]:
    char = pattern[at : at + 1]
    if char == "\\":
        at += 1
        char = pattern[at : at + 1]
    elif char in {"-", "]"}:
        raise bad(pattern)
    if not char:
        raise bad(pattern)
    return at + 1, char


@dataclass(frozen=True, slots=True)
class _Rule:
    text: str
    expression: re.Pattern[str]
    takes_back: bool


class Ignore:
    """Which paths a list of rules leaves out. Paths are relative, with ``/``, without ``./``."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._rules = tuple(_rule(pattern) for pattern in patterns if pattern)
        if len(self._rules) > MAX_RULES:
            raise Invalid(f"there are more than {MAX_RULES} patterns", code="pattern.too-many")

    @classmethod
    def parse(cls, text: str) -> Ignore:
        """The rules of a ``.dockerignore``: one a line, ``#`` in the first column is a comment."""
        lines = text.removeprefix("\ufeff").splitlines()
        return cls(_cleaned(line.strip()) for line in lines if not line.startswith("#"))

    def __bool__(self) -> bool:
        return bool(self._rules)

    def leaves_out(self, path: str) -> bool:
        """Whether the rules leave this path out, itself or by a directory above it."""
        parts = path.split("/")
        above = ["/".join(parts[:n]) for n in range(1, len(parts))]
        out = False
        for rule in self._rules:
            if rule.takes_back == out and any(
                rule.expression.fullmatch(one) for one in (path, *above)
            ):
                out = not rule.takes_back
        return out

    def may_take_back_below(self, directory: str) -> bool:
        """Whether something in a directory that is left out may still be wanted."""
        return any(
            rule.takes_back and (is_wild(rule.text) or rule.text.startswith(directory + "/"))
            for rule in self._rules
        )


def _cleaned(line: str) -> str:
    """A line as docker reads it: cleaned as a path, the leading slash dropped."""
    mark = "!" if line.startswith("!") else ""
    rest = line.removeprefix("!").strip()
    if not rest:
        if mark:
            raise Invalid(
                "a rule of the ignore file is a lone '!'",
                hint="write what it shall take back behind it",
                code="pattern.malformed",
            )
        return ""
    clean = posixpath.normpath(rest)
    if len(clean) > 1:
        clean = clean.lstrip("/")
    return mark + clean


def _rule(pattern: str) -> _Rule:
    text = pattern.removeprefix("!")
    return _Rule(
        text=text,
        expression=_compile("".join(_translate(text, deep=True)), text),
        takes_back=pattern != text,
    )
