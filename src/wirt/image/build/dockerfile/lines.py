"""From bytes to logical lines: continuations joined, comments dropped, heredocs attached.

The directives at the top are read here too, since they say which character continues a line.
Positions survive: every logical line knows where each of its pieces stood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wirt.errors import Invalid
from wirt.image.build.dockerfile import directives, heredoc
from wirt.image.build.dockerfile.ast import Directives, Heredoc, Origin, Position
from wirt.image.build.dockerfile.problem import Wrong, located, show
from wirt.image.build.dockerfile.words import BLANK

MAX_BYTES = 1024 * 1024
MAX_LINES = 50_000
MAX_INSTRUCTIONS = 2_000
_MARK = "\ufeff"
_CONTINUED = {
    mark: re.compile(rf"(?:^|[^{re.escape(mark)}])({re.escape(mark)}[ \t]*)$") for mark in "\\`"
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Logical:
    """One instruction before it is understood. ``keyword`` as typed, ``rest`` what follows it."""

    at: Origin
    keyword: str
    rest: str
    heredocs: tuple[Heredoc, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A whole file. ``blanks``: the empty lines that a continuation goes over."""

    directives: Directives
    logical: tuple[Logical, ...]
    lines: tuple[str, ...]
    blanks: tuple[Position, ...]


def split(data: bytes, name: str) -> Text:
    """The logical lines of a file. Raises Invalid naming file, line and column."""
    if len(data) > MAX_BYTES:
        raise Invalid(
            f"{name} has {len(data)} bytes, a Dockerfile may have {MAX_BYTES}",
            hint="put large contents in files of the context and COPY them",
            code="dockerfile.too-large",
        )
    physical = data.decode("utf-8", "surrogateescape").removeprefix(_MARK).split("\n")
    if not physical[-1]:
        physical.pop()
    if len(physical) > MAX_LINES:
        raise located(
            name,
            Position(MAX_LINES + 1),
            f"the file has {len(physical)} lines, {MAX_LINES} are allowed",
        )
    return _Reader(name, physical).read()


class _Reader:
    """Goes once over the physical lines; ``_next`` is the index of the first unread one."""

    def __init__(self, name: str, physical: list[str]) -> None:
        self._name = name
        self._physical = physical
        self._next = 0
        self._comment: list[str] = []
        self._blanks: list[Position] = []
        self._found: list[Logical] = []

    def read(self) -> Text:
        plain = [line.rstrip("\r") for line in self._physical]
        read, self._next = directives.read(plain, self._name)
        continued = _CONTINUED[read.escape]
        while self._next < len(self._physical):
            self._step(continued)
        return Text(
            directives=read,
            logical=tuple(self._found),
            lines=tuple(plain),
            blanks=tuple(self._blanks),
        )

    def _step(self, continued: re.Pattern[str]) -> None:
        """Read one physical line that begins something, and all that belongs to it."""
        line = self._physical[self._next].rstrip("\r")
        stripped = line.lstrip(BLANK)
        if stripped.startswith("#"):
            said = stripped[1:].strip(BLANK)
            self._comment = [*self._comment, said] if said else []
            self._next += 1
            return
        if not stripped:
            self._comment.clear()
            self._next += 1
            return
        start = self._next
        text, marks = self._join(continued)
        if not text.strip(BLANK):
            return
        if len(self._found) >= MAX_INSTRUCTIONS:
            raise located(
                self._name,
                Position(start + 1),
                f"the file has more than {MAX_INSTRUCTIONS} instructions",
            )
        self._found.append(self._logical(start, text, marks))
        self._comment.clear()

    def _join(self, continued: re.Pattern[str]) -> tuple[str, list[tuple[int, Position]]]:
        """The text from here to the end of the continuations."""
        pieces: list[str] = []
        marks: list[tuple[int, Position]] = []
        length = 0
        warned = False
        while self._next < len(self._physical):
            number = self._next + 1
            line = self._physical[self._next].rstrip("\r")
            stripped = line.lstrip(BLANK)
            if pieces and stripped.startswith("#"):
                self._next += 1
                continue
            if pieces and not stripped:
                if not warned:
                    self._blanks.append(Position(number))
                    warned = True
                self._next += 1
                continue
            column = 1 if pieces else len(line) - len(stripped) + 1
            piece = line if pieces else stripped
            match = continued.search(piece)
            if match is not None:
                piece = piece[: match.start(1)]
            marks.append((length, Position(number, column)))
            pieces.append(piece)
            length += len(piece)
            self._next += 1
            if match is None:
                break
        return "".join(pieces), marks

    def _logical(self, start: int, text: str, marks: list[tuple[int, Position]]) -> Logical:
        body = text.rstrip(BLANK)
        keyword, rest = _halves(body)
        position = marks[0][1]
        self._check(body, Position(start + 1, position.column))
        heredocs = self._heredocs(body, keyword, rest, start)
        origin = Origin(
            line=start + 1,
            column=position.column,
            end_line=self._next,
            keyword=keyword,
            text=body,
            source="\n".join(line.rstrip("\r") for line in self._physical[start : self._next]),
            marks=tuple(marks),
            comment=tuple(self._comment),
        )
        return Logical(at=origin, keyword=keyword, rest=rest, heredocs=heredocs)

    def _heredocs(self, body: str, keyword: str, rest: str, start: int) -> tuple[Heredoc, ...]:
        found = []
        try:
            announced = heredoc.announced(keyword, rest, body)
        except Wrong as error:
            raise located(self._name, Position(start + 1), error.message, hint=error.hint) from None
        for word in announced:
            first = self._next
            content: list[str] = []
            while self._next < len(self._physical):
                line = self._physical[self._next]
                plain = line.rstrip("\r")
                self._next += 1
                if (plain.lstrip("\t") if word.chomp else plain) == word.name:
                    break
                content.append(line.lstrip("\t") if word.chomp else line)
            else:
                raise located(
                    self._name,
                    Position(start + 1),
                    f"the heredoc {word.name!r} does not end",
                    hint=f"expected a line that is only {word.name!r}",
                )
            whole = "".join(f"{line}\n" for line in content)
            self._check(whole, Position(first + 1))
            found.append(
                Heredoc(
                    name=word.name,
                    content=whole,
                    expand=word.expand,
                    chomp=word.chomp,
                    line=first + 1,
                )
            )
        return tuple(found)

    def _check(self, text: str, position: Position) -> None:
        """Instructions become JSON and arguments of programs: no broken UTF-8, no NUL."""
        if "\0" in text:
            raise located(self._name, position, f"found a NUL byte in {show(text)}")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise located(
                self._name,
                position,
                "found bytes that are not UTF-8",
                hint="save the file as UTF-8",
            )


def _halves(text: str) -> tuple[str, str]:
    """The keyword and what follows it."""
    match = re.search(r"[\t\v\f\r ]+", text)
    if match is None:
        return text, ""
    return text[: match.start()], text[match.end() :].strip(BLANK)
