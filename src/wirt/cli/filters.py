"""``--filter`` for lists that the daemon gives whole."""

from __future__ import annotations

from wirt.cli.flags import misuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Thing = dict[str, Any]
    Test = Callable[[Thing, str], bool]


def has_label(thing: Thing, wanted: str) -> bool:
    """``KEY`` or ``KEY=VALUE`` among its labels."""
    key, equals, value = wanted.partition("=")
    labels = thing.get("labels") or {}
    return key in labels and (not equals or labels[key] == value)


def has_name(thing: Thing, wanted: str) -> bool:
    """A part of its name, as in docker."""
    return wanted in str(thing.get("name", ""))


def has_id(thing: Thing, wanted: str) -> bool:
    """The beginning of its id."""
    return (
        str(thing.get("id", "")).removeprefix("sha256:").startswith(wanted.removeprefix("sha256:"))
    )


def select(
    things: Sequence[Thing], filters: Sequence[str], tests: Mapping[str, Test]
) -> list[Thing]:
    """Those that match: the same key again means "or" (labels: "and"), different keys "and"."""
    wanted: dict[str, list[str]] = {}
    for one in filters:
        key, equals, value = one.partition("=")
        if key not in tests or not equals:
            raise misuse(
                f"invalid filter {one!r}",
                hint=f"write KEY=VALUE with one of the keys {', '.join(sorted(tests))}",
            )
        wanted.setdefault(key, []).append(value)
    return [thing for thing in things if _matches(thing, wanted, tests)]


def _matches(thing: Thing, wanted: dict[str, list[str]], tests: Mapping[str, Test]) -> bool:
    for key, values in wanted.items():
        results = [tests[key](thing, value) for value in values]
        if not (all(results) if key == "label" else any(results)):
            return False
    return True
