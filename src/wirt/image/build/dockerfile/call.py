"""An instruction on its way into a value: keyword and flags are read, the rest is text."""

from __future__ import annotations

from dataclasses import dataclass

from wirt.image.build.dockerfile.ast import Command, Heredoc, Origin
from wirt.image.build.dockerfile.options import Options
from wirt.image.build.dockerfile.problem import Wrong
from wirt.image.build.dockerfile.words import json_list


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An instruction whose flags are read. ``keyword`` is upper-case."""

    at: Origin
    keyword: str
    rest: str
    options: Options
    heredocs: tuple[Heredoc, ...]
    escape: str


def some(call: Call, expected: str) -> str:
    """The arguments, of which there must be some. Raises Wrong."""
    if not call.rest:
        raise Wrong(f"{call.keyword} has no argument", hint=f"expected {call.keyword} {expected}")
    return call.rest


def command(text: str) -> Command:
    """The exec form when the text is a list, else the shell form."""
    listed = json_list(text)
    return Command((text,), True) if listed is None else Command(listed, False)
