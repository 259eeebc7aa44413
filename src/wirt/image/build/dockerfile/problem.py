"""What is wrong with a Dockerfile, said with file, line and column."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from wirt.errors import Invalid
from wirt.image.build.dockerfile.ast import Position

_SHOWN = 80


def show(text: str) -> str:
    """``text`` in quotes, cut where it would fill the screen, nothing unprintable."""
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return repr(cut)


def suggest(word: str, choices: Iterable[str]) -> str | None:
    """The one of ``choices`` that ``word`` is most likely a misspelling of (case is ignored)."""
    by_lower: dict[str, str] = {}
    for choice in choices:
        by_lower.setdefault(choice.lower(), choice)
    found = get_close_matches(word[:_SHOWN].lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[found[0]] if found else None


def one_of(word: str, choices: Iterable[str]) -> str:
    """A hint: the likely meaning of ``word``, else everything that may stand in its place."""
    listed = list(choices)
    near = suggest(word, listed)
    return f"did you mean {near}?" if near else f"expected one of: {', '.join(listed)}"


def located(name: str, position: Position, message: str, *, hint: str | None = None) -> Invalid:
    """The one error for Dockerfiles: ``NAME:LINE:COLUMN: message``."""
    return Invalid(
        f"{name}:{position.line}:{position.column}: {message}",
        hint=hint,
        code="dockerfile.invalid",
        file=name,
        line=position.line,
        column=position.column,
    )


class Wrong(ValueError):
    """What is wrong with a piece of text, by code that does not know where the text stands.

    ``word`` is the piece, found again in its instruction to name line and column.
    """

    def __init__(self, message: str, *, word: str = "", hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.word = word
        self.hint = hint
