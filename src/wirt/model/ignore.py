"""``.dockerignore``: which files of a directory tree a list of rules leaves out.

The last rule that matches a path, or a directory above it, decides; ``!`` takes back. ``**``
crosses directories, ``*`` and ``?`` do not; ``[a-z]``, ``[^a]`` and ``\\`` are as in Go's
``path/filepath.Match``. Whoever walks a tree keeps one number per directory
(:meth:`Ignore.step`), so that each path is matched once. The rules come from strangers: patterns
with many stars, with which a backtracking matcher could be kept busy, are matched by following
all ways at once.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby

from wirt.errors import Invalid

MAX_RULES = 10_000
MAX_LENGTH = 4096
MAX_BYTES = 1024 * 1024
TOP = -1
"""The state above everything: no rule has matched."""
MAX_STARS = 16
_TAME = 3

# What a pattern is made of, besides single letters.
_ONE, _SOME, _DEEP, _ALL = "?", "*", "**/", "**"
_TEXT = {_ONE: "[^/]", _SOME: "[^/]*", _DEEP: "(?:.*/)?", _ALL: ".*"}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a pattern: a letter, a class (``text`` is an expression), or one of the marks."""

    kind: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: ``!`` is in ``takes_back``; ``pattern`` is cleaned like a path."""

    pattern: str
    tokens: tuple[Token, ...]
    takes_back: bool

    @property
    def stars(self) -> int:
        return sum(token.kind in {_SOME, _DEEP, _ALL} for token in self.tokens)

    @property
    def literal(self) -> str | None:
        """The only path that the rule matches, if there is only one."""
        if any(token.kind != "letter" for token in self.tokens):
            return None
        return "".join(token.text for token in self.tokens)


def names_for(dockerfile: str) -> tuple[str, ...]:
    """Where the rules for a Dockerfile may stand, the first that exists counts."""
    return (f"{dockerfile}.dockerignore", ".dockerignore")


class Ignore:
    """A list of rules. Paths are relative, with ``/``, without ``./``."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """``patterns`` as :meth:`parse` cleans them. Raises Invalid for a malformed one."""
        rules = [_rule(pattern) for pattern in patterns if pattern]
        if len(rules) > MAX_RULES:
            raise Invalid(
                f"there are {len(rules)} rules to ignore, {MAX_RULES} are allowed",
                code="ignore.malformed",
            )
        self._groups = tuple(
            _Group(list(group), takes_back)
            for takes_back, group in groupby(rules, lambda rule: rule.takes_back)
        )

    @classmethod
    def parse(cls, text: str, name: str = ".dockerignore") -> Ignore:
        """The rules of a file: one a line; ``#`` in the first column is a comment. Raises Invalid
        naming the line."""
        if len(text) > MAX_BYTES:
            raise Invalid(f"{name} is larger than {MAX_BYTES} bytes", code="ignore.malformed")
        patterns = []
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            if line.startswith("#"):
                continue
            try:
                pattern = clean(line)
                if pattern:
                    _rule(pattern)
                    patterns.append(pattern)
            except Invalid as error:
                raise Invalid(
                    f"{name}:{number}: {error.message}", hint=error.hint, code=error.code
                ) from None
        return cls(patterns)

    def __bool__(self) -> bool:
        return bool(self._groups)

    @property
    def takes_back(self) -> bool:
        """Whether there is a rule with ``!``."""
        return any(group.takes_back for group in self._groups)

    def step(self, path: str, above: int = TOP) -> int:
        """The state of ``path``, which lies in a directory of the state ``above``."""
        for index in range(len(self._groups) - 1, above, -1):
            if self._groups[index].matches(path):
                return index
        return above

    def is_out(self, state: int) -> bool:
        """Whether a path of this state is left out."""
        return state >= 0 and not self._groups[state].takes_back

    def leaves_out(self, path: str) -> bool:
        """Whether ``path`` is left out, by itself or by a directory above it."""
        state = TOP
        end = path.find("/")
        while end > 0:
            state = self.step(path[:end], state)
            end = path.find("/", end + 1)
        return self.is_out(self.step(path, state))

    def may_take_back_below(self, directory: str, state: int = TOP) -> bool:
        """Whether something in a directory that is left out may still be wanted, so that the
        directory must be walked. ``state`` is the directory's; without it all rules are asked."""
        return any(
            group.takes_back and any(_reaches_below(rule, directory) for rule in group.rules)
            for group in self._groups[state + 1 :]
        )


class _Group:
    """Neighbouring rules that all leave out, or all take back: their order does not matter."""

    def __init__(self, rules: list[Rule], takes_back: bool) -> None:
        self.rules = tuple(rules)
        self.takes_back = takes_back
        self._literals = frozenset(r.literal for r in rules if r.literal is not None)
        rest = [rule for rule in rules if rule.literal is None]
        tame = [rule for rule in rest if rule.stars <= _TAME]
        self._wild = tuple(rule.tokens for rule in rest if rule.stars > _TAME)
        joined = "|".join("".join(map(_expression, rule.tokens)) for rule in tame)
        self._tame = re.compile(joined, re.DOTALL) if tame else None

    def matches(self, path: str) -> bool:
        return (
            path in self._literals
            or (self._tame is not None and self._tame.fullmatch(path) is not None)
            or any(_follow(tokens, path) for tokens in self._wild)
        )


def clean(line: str) -> str:
    """A line as docker reads it: cleaned as a path, the leading slash dropped; "" for none."""
    line = line.strip()
    mark = "!" if line.startswith("!") else ""
    rest = line.removeprefix("!").strip()
    if not rest:
        if mark:
            raise Invalid(
                "a lone '!' takes nothing back",
                hint="write a pattern behind it",
                code="ignore.malformed",
            )
        return ""
    path = posixpath.normpath(rest)
    return mark + (path.lstrip("/") or "/")


def _bad(pattern: str) -> Invalid:
    return Invalid(
        f"the pattern {pattern[:200]!r} is malformed",
        hint="a '[' needs its ']', and a backslash something to escape",
        code="ignore.malformed",
    )


def _rule(pattern: str) -> Rule:
    text = pattern.removeprefix("!")
    if not text or len(text) > MAX_LENGTH:
        raise _bad(pattern)
    found = Rule(text, tuple(_tokens(text)), takes_back=pattern != text)
    if found.stars > MAX_STARS:
        raise Invalid(
            f"the pattern {pattern[:200]!r} has {found.stars} stars, {MAX_STARS} are allowed",
            code="ignore.malformed",
        )
    return found


def _tokens(text: str) -> list[Token]:
    found: list[Token] = []
    at = 0
    while at < len(text):
        letter = text[at]
        at += 1
        if letter == "*" and text[at : at + 1] == "*":
            at += 1
            slash = text[at : at + 1] == "/"
            at += slash
            rest = text[at:]
            # A leading "**name" reaches into names: "**.py" leaves out "a.py", as with docker.
            suffix = not found and not slash and not set(rest) & set("*?[]\\")
            mark = Token(_ALL if not rest or suffix else _DEEP)
            if found and found[-1].kind == _DEEP:
                found.pop()
            found.append(mark)
        elif letter in {_ONE, _SOME}:
            found.append(Token(letter))
        elif letter == "[":
            at, expression = _class(text, at)
            found.append(Token("class", expression))
        elif letter == "\\":
            if at >= len(text):
                raise _bad(text)
            found.append(Token("letter", text[at]))
            at += 1
        else:
            found.append(Token("letter", letter))
    return found


def _class(text: str, at: int) -> tuple[int, str]:
    """``[...]`` from behind its bracket: where it ends, and the expression."""
    negated = text[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while text[at : at + 1] != "]" or not ranges:
        at, low = _member(text, at)
        high = low
        if text[at : at + 1] == "-":
            at, high = _member(text, at + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")
    inside = "".join(ranges)
    if not inside:
        return at + 1, "[^/]" if negated else "(?!)"
    return at + 1, f"(?!/)[{'^' if negated else ''}{inside}]"


def _member(text: str, at: int) -> tuple[int, str]:
    letter = text[at : at + 1]
    if letter == "\\":
        at += 1
        letter = text[at : at + 1]
    elif letter in {"-", "]"}:
        raise _bad(text)
    if not letter:
        raise _bad(text)
    return at + 1, letter


def _expression(token: Token) -> str:
    if token.kind == "letter":
        return re.escape(token.text)
    return _TEXT.get(token.kind, token.text)


def _follow(tokens: tuple[Token, ...], path: str) -> bool:
    """Match by keeping every state: at most one step per letter and token."""
    state = _closed(tokens, {(0, False)})
    for letter in path:
        state = _closed(tokens, {after for each in state for after in _after(tokens, each, letter)})
        if not state:
            return False
    return (len(tokens), False) in state


def _after(
    tokens: tuple[Token, ...], state: tuple[int, bool], letter: str
) -> Iterable[tuple[int, bool]]:
    """Where one letter leads. The flag: inside a ``**/`` that has begun to take letters."""
    at, inside = state
    if at >= len(tokens):
        return
    token = tokens[at]
    if token.kind == _DEEP:
        yield at, True
        if letter == "/":
            yield at + 1, False
    elif not inside and _takes(token, letter):
        yield (at if token.kind in {_ALL, _SOME} else at + 1), False


def _takes(token: Token, letter: str) -> bool:
    if token.kind == "letter":
        return letter == token.text
    if token.kind == "class":
        return re.fullmatch(token.text, letter) is not None
    return token.kind == _ALL or letter != "/"


def _closed(tokens: tuple[Token, ...], state: set[tuple[int, bool]]) -> set[tuple[int, bool]]:
    """With what can be reached without a letter: past a star that takes none."""
    waiting = list(state)
    while waiting:
        at, inside = waiting.pop()
        skippable = at < len(tokens) and tokens[at].kind in {_SOME, _ALL, _DEEP}
        if skippable and not inside and (at + 1, False) not in state:
            state.add((at + 1, False))
            waiting.append((at + 1, False))
    return state


def _reaches_below(rule: Rule, directory: str) -> bool:
    """Whether the rule may match something in the directory; in doubt it may."""
    if "\\" in rule.pattern or "[" in rule.pattern:
        return True
    components = rule.pattern.split("/")
    parts = directory.split("/")
    for component, part in zip(components, parts, strict=False):
        if "**" in component:
            return True
        if not _follow(tuple(_tokens(component)), part):
            return False
    return len(components) > len(parts)


_WILD = frozenset("*?[\\")


def is_wild(text: str) -> bool:
    """Whether a name is a pattern rather than itself."""
    return not _WILD.isdisjoint(text)


def name_pattern(text: str) -> Callable[[str], bool]:
    """What tells whether one name (without ``/``) matches, as Go's ``path/filepath.Match`` does;
    for the sources of COPY. Raises Invalid."""
    while "**" in text:
        text = text.replace("**", "*")
    if not text or len(text) > MAX_LENGTH:
        raise _bad(text)
    rule = Rule(text, tuple(_tokens(text)), takes_back=False)
    return _Group([rule], takes_back=False).matches
