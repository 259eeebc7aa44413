"""What the checks look at and what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from wirt.image.build.dockerfile.ast import (
    Directives,
    Dockerfile,
    From,
    Instruction,
    Origin,
    Position,
    Stage,
)
from wirt.model.ignore import Ignore


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A file and what is known about its build.

    ``given``: the build arguments; ``known``: the platform arguments. ``bases``: the environment
    (``NAME=value``) of base images by their names, as far as they are here. ``ignore``: the rules
    of the context, None when there are none.
    """

    file: Dockerfile
    given: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)
    bases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ignore: Ignore | None = None

    def instructions(self) -> Iterator[tuple[Stage, Instruction]]:
        """Every instruction with its stage."""
        for stage in self.file.stages:
            for each in stage.instructions:
                yield stage, each


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A warning. ``rule`` is its name, ``end_line`` the last line that it is about."""

    rule: str
    message: str
    position: Position
    end_line: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a check says, before it has its rule's name. ``word``: where in the instruction."""

    at: Origin
    message: str
    word: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A check. ``experimental`` ones run when the file or the build asks for them."""

    name: str
    description: str
    check: Callable[[Subject], Iterable[Found]]
    experimental: bool = False


def keyword_of(found: Instruction | From) -> str:
    """The instruction's keyword in upper case."""
    return found.at.keyword.upper()


def wants(rule: Rule, directives: Directives) -> bool:
    """Whether a rule runs under ``# check=``; asked for by name it runs even under skip=all."""
    name = rule.name.lower()
    if rule.experimental:
        return bool({"all", name} & directives.experimental)
    return not {"all", name} & directives.skip
