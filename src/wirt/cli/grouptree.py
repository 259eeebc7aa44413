"""Groups below each other, as ``wirt group tree`` draws them."""

from __future__ import annotations

from wirt.cli.output import harmless
from wirt.cli.view import human

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RESOURCES = ("cpu", "memory", "disk", "net")


def amount(resource: str, number: int) -> str:
    """An amount for people."""
    if resource == "cpu":
        return f"{number / 1000:g}"
    if resource == "net":
        return human.decimal_size(number).removesuffix("B") + "bit/s"
    return human.binary_size(number) + ("/s" if resource == "disk" else "")


def reserved(resource: str, portion: dict[str, Any]) -> str:
    """What was promised of what is reserved, as ``0.5/2``; and the limit, if any."""
    inner, own, limit = portion["promised"], portion["reservation"], portion["limit"]
    if not (inner or own or limit):
        return "-"
    text = f"{amount(resource, inner)}/{amount(resource, own)}"
    return text if limit is None else f"{text} max {amount(resource, limit)}"


def branches(groups: list[dict[str, Any]], top: str) -> list[str]:
    """One line for each group from ``top`` on (empty: the host) and for each guest in it."""
    below: dict[str, list[dict[str, Any]]] = {}
    for group in groups:
        if group["path"]:
            below.setdefault(str(group["path"]).rpartition("/")[0], []).append(group)
    root = next(group for group in groups if group["path"] == top)
    return [_line(top or "host", root), *_inside(root, below, "")]


def _inside(
    group: dict[str, Any], below: dict[str, list[dict[str, Any]]], indent: str
) -> list[str]:
    guests = [(_guest(guest), None) for guest in group["guests"]]
    inner = below.get(group["path"], [])
    groups = [(_line(str(one["path"]).rpartition("/")[2] + "/", one), one) for one in inner]
    entries: list[tuple[str, dict[str, Any] | None]] = [*guests, *groups]
    lines = []
    for number, (text, child) in enumerate(entries):
        last = number == len(entries) - 1
        lines.append(f"{indent}{'└─' if last else '├─'} {text}")
        if child is not None:
            lines += _inside(child, below, indent + ("   " if last else "│  "))
    return lines


def _line(head: str, group: dict[str, Any]) -> str:
    portions = group["portions"]
    told = [
        f"{name} {text}" for name in RESOURCES if (text := reserved(name, portions[name])) != "-"
    ]
    if group["expandable"]:
        told.append("expandable")
    return harmless("  ".join([head, *told]))


def _guest(guest: dict[str, Any]) -> str:
    promised = [f"{name} {amount(name, n)}" for name, n in guest["reservations"].items()]
    state = [] if guest["running"] else ["(down)"]
    return harmless("  ".join([str(guest["name"]), *promised, *state]))
