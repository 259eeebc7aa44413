"""The functions of ``--format`` templates, with the results of Go's and docker's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wirt.client.fastjson import encode


def go_text(value: Any) -> str:
    """A value as Go's ``%v`` prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{go_text(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(go_text(inner) for inner in value) + "]"
    return str(value)


def truth(value: Any) -> bool:
    """Go's truth: false, 0, nil and anything empty are false."""
    return bool(value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, (list, tuple)) and isinstance(key, int):
            value = value[key]
        else:
            raise TypeError("only lists and maps have an index")
    return value


def _length(value: Any) -> int:
    return len(value) if value is not None else 0


def _slice(value: Any, *bounds: int) -> Any:
    return value[slice(*bounds)] if len(bounds) > 1 else value[slice(bounds[0], None)]


def _printf(form: str, *values: Any) -> str:
    """``%s %v %d %q %x %%`` with widths."""
    shown = form.replace("%v", "%s").replace("%q", '"%s"')
    return shown % tuple(v if isinstance(v, (int, float)) else go_text(v) for v in values)


def _all(*values: Any) -> Any:
    return next((value for value in values if not truth(value)), values[-1])


def _any(*values: Any) -> Any:
    return next((value for value in values if truth(value)), values[-1])


def _truncate(text: Any, length: int) -> str:
    return go_text(text)[:length]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": lambda value: encode(value).decode(),
    "join": lambda values, separator: separator.join(go_text(v) for v in values),
    "split": lambda text, separator: text.split(separator),
    "lower": lambda text: go_text(text).lower(),
    "upper": lambda text: go_text(text).upper(),
    "title": lambda text: go_text(text).title(),
    "pad": lambda text, before, after: " " * before + go_text(text) + " " * after if text else "",
    "truncate": _truncate,
    "println": lambda *values: " ".join(go_text(v) for v in values) + "\n",
    "print": lambda *values: "".join(go_text(v) for v in values),
    "printf": _printf,
    "len": _length,
    "index": _index,
    "slice": _slice,
    "and": _all,
    "or": _any,
    "not": lambda value: not truth(value),
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda one, other: one != other,
    "lt": lambda one, other: one < other,
    "le": lambda one, other: one <= other,
    "gt": lambda one, other: one > other,
    "ge": lambda one, other: one >= other,
}
