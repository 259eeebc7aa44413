"""From text to :class:`Dockerfile`: the whole grammar, every error with its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from wirt.errors import Invalid
from wirt.image.build.dockerfile import arguments, execution, options, transfer, words
from wirt.image.build.dockerfile.ast import (
    Arg,
    Dockerfile,
    From,
    Instruction,
    Onbuild,
    Position,
    Stage,
)
from wirt.image.build.dockerfile.call import Call
from wirt.image.build.dockerfile.lines import Logical, split
from wirt.image.build.dockerfile.problem import Wrong, located, show, suggest

KEYWORDS: Mapping[str, Callable[[Call], Instruction | From]] = {
    "ADD": transfer.add,
    "ARG": arguments.arg,
    "CMD": execution.cmd,
    "COPY": transfer.copy,
    "ENTRYPOINT": execution.entrypoint,
    "ENV": arguments.env,
    "EXPOSE": arguments.expose,
    "FROM": arguments.start,
    "HEALTHCHECK": execution.healthcheck,
    "LABEL": arguments.label,
    "MAINTAINER": arguments.maintainer,
    "ONBUILD": lambda call: _onbuild(call),
    "RUN": execution.run,
    "SHELL": execution.shell,
    "STOPSIGNAL": arguments.stopsignal,
    "USER": arguments.user,
    "VOLUME": arguments.volume,
    "WORKDIR": arguments.workdir,
}
MAX_STAGES = 1000
_NEVER_TRIGGERS = {"ONBUILD", "FROM", "MAINTAINER"}


def parse(data: bytes, name: str = "Dockerfile") -> Dockerfile:
    """The file's meaning. ``name`` is what errors call it. Raises Invalid."""
    text = split(data, name)
    if not text.logical:
        raise located(name, Position(1), "the file has no instructions", hint="begin with FROM")
    args: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    for logical in text.logical:
        found = _instruction(logical, text.directives.escape, name)
        if isinstance(found, From):
            stages.append((found, []))
            if len(stages) > MAX_STAGES:
                place = Position(found.at.line, found.at.column)
                raise located(name, place, f"the file has more than {MAX_STAGES} stages")
        elif stages:
            stages[-1][1].append(found)
        elif isinstance(found, Arg):
            args.append(found)
        else:
            raise located(
                name,
                Position(logical.at.line, logical.at.column),
                f"{logical.keyword.upper()} stands before the first FROM",
                hint="only ARG may; begin with FROM",
            )
    if not stages:
        raise located(name, Position(max(1, len(text.lines))), "the file has no FROM")
    return Dockerfile(
        name=name,
        directives=text.directives,
        args=tuple(args),
        stages=tuple(
            Stage(index=index, start=start, instructions=tuple(instructions))
            for index, (start, instructions) in enumerate(stages)
        ),
        blank_continuations=text.blanks,
        lines=text.lines,
    )


def parse_trigger(text: str, name: str) -> Instruction:
    """The instruction of an ONBUILD of a base image; ``name`` says of which. Raises Invalid."""
    found = parse_instruction(text, name)
    keyword = found.at.keyword.upper()
    if isinstance(found, From) or keyword in _NEVER_TRIGGERS:
        raise Invalid(f"{name}: {keyword} cannot be a trigger", code="dockerfile.invalid")
    return found


def parse_instruction(text: str, name: str) -> Instruction | From:
    """A text that is one instruction; ``name`` is what errors call it. Raises Invalid."""
    found = split(text.encode("utf-8", "surrogateescape"), name)
    if len(found.logical) != 1:
        raise Invalid(f"{name}: {show(text)} is not one instruction", code="dockerfile.invalid")
    return _instruction(found.logical[0], found.directives.escape, name)


def _instruction(logical: Logical, escape: str, name: str) -> Instruction | From:
    try:
        return _understand(logical, escape)
    except Wrong as error:
        raise located(name, logical.at.find(error.word), error.message, hint=error.hint) from None


def _understand(logical: Logical, escape: str) -> Instruction | From:
    keyword = logical.keyword.upper()
    reader = KEYWORDS.get(keyword)
    if reader is None:
        near = suggest(keyword, KEYWORDS)
        raise Wrong(
            f"there is no instruction {show(logical.keyword)}",
            hint=f"did you mean {near}?" if near else f"expected one of: {', '.join(KEYWORDS)}",
        )
    flags, rest = words.flags(logical.rest) if keyword != "ONBUILD" else ([], logical.rest)
    return reader(
        Call(
            at=logical.at,
            keyword=keyword,
            rest=rest,
            options=options.parse(keyword, flags),
            heredocs=logical.heredocs,
            escape=escape,
        )
    )


def _onbuild(call: Call) -> Onbuild:
    if not call.rest:
        raise Wrong("ONBUILD has no instruction", hint="expected ONBUILD INSTRUCTION arguments")
    keyword, rest = words.halves(call.rest)
    if keyword.upper() in _NEVER_TRIGGERS:
        raise Wrong(f"{keyword.upper()} cannot be a trigger of ONBUILD", word=keyword)
    inner = _understand(
        Logical(
            at=replace(call.at, keyword=keyword),
            keyword=keyword,
            rest=rest,
            heredocs=call.heredocs,
        ),
        call.escape,
    )
    assert not isinstance(inner, From)
    trailing = "".join(f"\n{each.content}{each.name}" for each in call.heredocs)
    return Onbuild(at=call.at, trigger=call.rest + trailing, instruction=inner)
