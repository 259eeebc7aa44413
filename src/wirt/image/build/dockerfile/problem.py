"""What is wrong with a Dockerfile, said with file, line and column."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from wirt.errors import Invalid
from wirt.image.build.dockerfile.ast import Position

_SHOWN = 80
_COMPARED = 40
_ASKED = 200


def show(text: str) -> str:
    """``text`` in quotes, cut where it would fill the screen, nothing unprintable."""
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return repr(cut)


def suggest(word: str, choices: Iterable[str]) -> str | None:
    """The one of ``choices`` that ``word`` is most likely a misspelling of (case is ignored)."""
    wanted = word[:_COMPARED].lower()
    most = max(1, len(wanted) // 4)
    best: tuple[int, str] | None = None
    for choice in islice(choices, _ASKED):
        if abs(len(choice) - len(wanted)) <= most:
            distance = _distance(wanted, choice.lower())
            if distance <= most and (best is None or (distance, choice) < best):
                best = distance, choice
    return best[1] if best else None


def _distance(one: str, other: str) -> int:
    """How many letters must be put in, left out, replaced, or swapped with the next."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


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
