"""COPY and ADD, read but not expanded."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wirt.image.build.dockerfile import heredoc
from wirt.image.build.dockerfile.ast import Add, Copy, Heredoc
from wirt.image.build.dockerfile.call import Call
from wirt.image.build.dockerfile.problem import Wrong, show
from wirt.image.build.dockerfile.words import fields, json_list

_VARIABLE = re.compile(r"\$.")


@dataclass(frozen=True, slots=True)
class _Paths:
    sources: tuple[str, ...]
    inline: tuple[Heredoc, ...]
    destination: str


def _paths(call: Call) -> _Paths:
    """The sources, those of them that are heredocs, and the destination."""
    listed = json_list(call.rest)
    given = fields(call.rest) if listed is None else list(listed)
    if len(given) < 2:
        raise Wrong(
            f"{call.keyword} has {len(given)} argument{'s' * (len(given) != 1)}",
            word=call.rest,
            hint=f"expected {call.keyword} source ... destination",
        )
    *sources, destination = given
    if listed is not None:
        return _Paths(tuple(sources), (), destination)
    if heredoc.parse(destination) is not None and call.heredocs:
        raise Wrong(
            f"the destination {show(destination)} is a heredoc",
            word=destination,
            hint="name the destination after the heredocs",
        )
    waiting = list(call.heredocs)
    plain: list[str] = []
    inline: list[Heredoc] = []
    for source in sources:
        announced = heredoc.parse(source)
        if announced is not None and waiting and waiting[0].name == announced.name:
            inline.append(waiting.pop(0))
        else:
            plain.append(source)
    return _Paths(tuple(plain), tuple(inline), destination)


def _no_variable(value: str | None) -> str | None:
    if value is not None and _VARIABLE.search(value):
        raise Wrong(
            f"--from={value} cannot hold a variable",
            word=f"--from={value}",
            hint="give the image a stage: FROM $IMAGE AS name, and write --from=name",
        )
    return value


def copy(call: Call) -> Copy:
    """COPY."""
    paths, given = _paths(call), call.options
    return Copy(
        at=call.at,
        sources=paths.sources,
        destination=paths.destination,
        inline=paths.inline,
        origin=_no_variable(given.single.get("from")),
        chown=given.single.get("chown"),
        chmod=given.single.get("chmod"),
        link=given.switches.get("link"),
        parents=given.switches.get("parents"),
        exclude=given.many.get("exclude", ()),
    )


def add(call: Call) -> Add:
    """ADD."""
    paths, given = _paths(call), call.options
    return Add(
        at=call.at,
        sources=paths.sources,
        destination=paths.destination,
        inline=paths.inline,
        chown=given.single.get("chown"),
        chmod=given.single.get("chmod"),
        link=given.switches.get("link"),
        exclude=given.many.get("exclude", ()),
        keep_git_dir=given.switches.get("keep-git-dir"),
        checksum=given.single.get("checksum"),
        unpack=given.switches.get("unpack"),
    )
