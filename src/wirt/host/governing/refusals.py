"""Why a policy is none: each error names the setting, what stands there, and what would help."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import msgspec

from wirt.errors import Invalid
from wirt.governor.tree import Resource
from wirt.host.claims import told

CODE = "governor.policy"
Bound = tuple[str, float | None, float, float]
"""Name of a setting, its value (None: not set), the least and the most that it may be."""
_PLACE = re.compile(r"(.*?)(?: - at `(?:key in )?\$\.?(.*)`)?", re.DOTALL)
_KINDS = {
    "float": "a number", "int": "a whole number", "str": "a text", "bool": "true or false",
    "object": "a table", "array": "a list",
}  # fmt: skip
_SIZES = {"pool.memory", "pool.zram", "pool.disk", "reserve.memory", "tuning.spare"}


def wrong_kind(error: msgspec.ValidationError, table: object, like: object) -> Invalid:
    """For what has another type than the setting. ``like``: the policy of the defaults."""
    match = _PLACE.fullmatch(str(error))
    reason, where = (match[1], match[2] or "") if match else (str(error), "")
    keys = [key for key in re.split(r"[.\[\]]+", where) if key]
    typed = _at(table, keys)
    name = ".".join(keys)
    subject = f"{name} = {_shown(typed)} of the governor's policy" if name else "the policy"
    choices = _choices(like, keys)
    if choices and isinstance(typed, str):
        return refuse(f"{subject} is none of its settings", f"write one of: {', '.join(choices)}")
    wanted = re.search(r"Expected `([a-z| ]+)`", reason)
    kinds = [_KINDS.get(kind, kind) for kind in wanted[1].split(" | ") if kind != "null"] if (
        wanted
    ) else []  # fmt: skip
    if not kinds:
        return refuse(f"{subject} is wrong: {reason[:200]}", "'wirt governor policy' shows one")
    if choices:
        kinds = [f"one of: {', '.join(choices)}"]
    return refuse(f"{subject} has the wrong type", f"write {' or '.join(kinds)}")


def unknown(table: object, like: object, where: str = "") -> Invalid | None:
    """For the first setting that there is none of; None when all are known."""
    if not isinstance(table, dict) or not is_dataclass(like):
        return None
    known = sorted(one.name for one in fields(like))
    for key, value in table.items():
        if key not in known:
            more = "; [guests] is for 'wirt replay' only" if key == "guests" and not where else ""
            return refuse(
                f"the governor's policy has no setting {where + str(key)[:80]!r}",
                f"there are {', '.join(where + one for one in known)}{more}",
            )
        found = unknown(value, getattr(like, key), f"{where}{key}.")
        if found is not None:
            return found
    return None


def read(name: str, value: object, make: Callable[[], int]) -> int:
    """What ``make`` reads of a text as ``512m``. Raises Invalid naming the setting."""
    try:
        return make()
    except Invalid as error:
        if error.code == CODE:  # it is named already
            raise
        raise refuse(
            f"{name} = {_shown(value)} of the governor's policy: {error.message}",
            error.hint or "'wirt governor policy' shows one",
        ) from error


def bounded(bound: Bound) -> None:
    """Raise Invalid for a number beyond its bounds."""
    name, number, low, high = bound
    if number is not None and not (math.isfinite(number) and low <= number <= high):
        show = _amount if name in _SIZES else _plain
        raise refuse(
            f"{name} = {_plain(number)} of the governor's policy is out of range",
            f"write {show(low)} to {show(high)}",
        )


def refuse(message: str, hint: str) -> Invalid:
    """The error."""
    return Invalid(message, hint=hint, code=CODE)


def _plain(number: float) -> str:
    return f"{number:g}" if math.isfinite(number) and abs(number) < 1e6 else str(number)


def _amount(number: float) -> str:
    return told(Resource.MEMORY, int(number))


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return repr(value)[:60]


def _at(table: object, keys: list[str]) -> object:
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table


def _choices(like: Any, keys: list[str]) -> list[str]:
    """What may stand there, where it is one of a few words."""
    for key in keys:
        like = getattr(like, key, None)
    return [one.value for one in type(like)] if isinstance(like, Enum) else []
