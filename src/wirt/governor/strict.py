"""Plain JSON values made into numbers and names, or refused: for files that anybody may have
written. Every error says where in the document the fault is."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from wirt.errors import Invalid
from wirt.governor.tree import UNLIMITED

LONGEST_NAME = 600
"""Characters of a guest's id, a guest's name or a group's path."""
LONGEST_WORDS = 4096
CODE = "governor.trace"


def fault(where: str, why: str) -> Invalid:
    """The error for what no trace has."""
    return Invalid(
        f"{where[:200]}: {why}", hint="is it a file that 'wirt governor record' wrote?", code=CODE
    )


def parse(line: bytes, where: str) -> Any:
    """One JSON value without NaN, infinities or doubled names. Raises Invalid."""
    try:
        return json.loads(
            line, parse_constant=_no_constant, parse_int=_integer, object_pairs_hook=_once
        )
    except json.JSONDecodeError as error:
        raise fault(where, f"it is no JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise fault(where, "it is no JSON that is read here: it is nested too deeply") from error
    except ValueError as error:
        raise fault(where, f"it is no JSON: {str(error)[:200]}") from error


def table(
    value: object, where: str, known: Collection[str] | None = None, *, most: int = 10_000
) -> Mapping[str, Any]:
    """An object with no other keys than ``known`` (None: names of any kind)."""
    if not isinstance(value, dict):
        raise fault(where, "it is no object")
    if len(value) > most:
        raise fault(where, f"it has {len(value)} entries, more than {most}")
    for key in value:
        if known is None:
            text(key, where)
        elif key not in known:
            raise fault(where, f"{key[:80]!r} is unknown")
    return value


def rows(value: object, where: str, *, most: int = 10_000) -> list[Any]:
    """A list that is not too long."""
    if not isinstance(value, list):
        raise fault(where, "it is no list")
    if len(value) > most:
        raise fault(where, f"it has {len(value)} entries, more than {most}")
    return value


def whole(value: object, where: str, *, low: int = 0, high: int = UNLIMITED) -> int:
    """A whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise fault(where, f"{str(value)[:40]!r} is no whole number from {low} to {high}")
    return value


def real(value: object, where: str, *, low: float = 0.0, high: float = 1e18) -> float:
    """A finite number within bounds."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, int | float) and number and low <= value <= high and math.isfinite(value):
        return float(value)
    raise fault(where, f"{str(value)[:40]!r} is no number from {low:g} to {high:g}")


def text(value: object, where: str, *, most: int = LONGEST_NAME) -> str:
    """A text that is not too long."""
    if not isinstance(value, str) or len(value) > most:
        raise fault(where, f"it is no text of at most {most} characters")
    return value


def truth(value: object, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise fault(where, "it is neither true nor false")
    return value


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _integer(digits: str) -> int:
    if len(digits) > 24:
        raise ValueError(f"the number {digits[:24]}... is too long")
    return int(digits)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands there twice")
    return made
