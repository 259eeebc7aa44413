"""What an instruction means where it stands: variables replaced, quotes gone, values checked.

One instruction sees the values from before it: ``ENV a=1 b=$a`` gives ``b`` the old ``a``. ARG is
evaluated by its scope (``scope.py``), since what is given from outside goes before its default.
Commands (RUN, CMD, ENTRYPOINT, HEALTHCHECK) are never expanded: that is the shell's business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from wirt.image.build.dockerfile import mode, mount, ports, shellword, signals
from wirt.image.build.dockerfile.ast import (
    Add,
    Copy,
    Env,
    Expose,
    From,
    Heredoc,
    Instruction,
    Label,
    Pair,
    Run,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from wirt.image.build.dockerfile.problem import Wrong, located, show

_CHECKSUM = re.compile(
    r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}|[0-9a-f]{40}|[0-9a-f]{64}",
    re.ASCII,
)
MAX_ID = 2**32 - 2
_I = TypeVar("_I", bound=Instruction)
Meaning = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Expanded:
    """An instruction of the same type, and the names of the variables that it asked for.

    ``missing``: those that had no value and no default in the text.
    """

    instruction: Instruction
    used: frozenset[str]
    missing: frozenset[str]


def expand(
    instruction: Instruction,
    env: Mapping[str, str],
    *,
    name: str,
    escape: str = "\\",
    seen: shellword.Seen | None = None,
) -> Expanded:
    """Expand and check one instruction of the file called ``name``. Raises Invalid; ``seen`` knows
    then too which variables were asked for until there."""
    seen = seen if seen is not None else shellword.Seen()
    try:
        found = _Expansion(env, escape, seen).of(instruction)
    except Wrong as error:
        place = instruction.at.find(error.word)
        raise located(name, place, error.message, hint=error.hint) from None
    return Expanded(found, frozenset(seen.used), frozenset(seen.missing))


def expand_from(
    start: From, args: Mapping[str, str], *, name: str, escape: str = "\\"
) -> tuple[From, frozenset[str]]:
    """The base of a stage with the global ARGs put in, and the names that had no value."""
    seen = shellword.Seen()
    meaning = partial(shellword.expand, env=args, escape=escape, seen=seen)
    try:
        image = meaning(start.image)
        platform = None if start.platform is None else meaning(start.platform) or None
        if not image.strip():
            raise Wrong(
                f"the base image {show(start.image)} is empty",
                word=start.image,
                hint="give the ARG a default before the first FROM",
            )
    except Wrong as error:
        place = start.at.find(error.word)
        raise located(name, place, error.message, hint=error.hint) from None
    return replace(start, image=image, platform=platform), frozenset(seen.missing)


class _Expansion:
    def __init__(self, env: Mapping[str, str], escape: str, seen: shellword.Seen) -> None:
        self._env = env
        self._escape = escape
        self._seen = seen

    def _one(self, word: str) -> str:
        return shellword.expand(word, self._env, escape=self._escape, seen=self._seen)

    def of(self, instruction: Instruction) -> Instruction:
        match instruction:
            case Copy() | Add():
                return self._transfer(instruction)
            case Env() | Label():
                return replace(instruction, pairs=self._pairs(instruction))
            case Run():
                return replace(
                    instruction,
                    mounts=tuple(
                        mount.parse(each.text, self._one) if "$" in each.text else each
                        for each in instruction.mounts
                    ),
                )
            case Expose():
                return replace(instruction, ports=self._ports(instruction))
            case Stopsignal():
                signal = self._one(instruction.signal)
                signals.number(signal)
                return replace(instruction, signal=signal)
            case User():
                return replace(instruction, user=self._filled(instruction.user, "USER"))
            case Workdir():
                return replace(instruction, path=self._filled(instruction.path, "WORKDIR"))
            case Volume():
                paths = tuple(self._filled(path, "VOLUME") for path in instruction.paths)
                return replace(instruction, paths=paths)
            case _:
                return instruction

    def _filled(self, word: str, keyword: str) -> str:
        found = self._one(word)
        if not found.strip():
            raise Wrong(
                f"{keyword} {show(word)} is empty",
                word=word,
                hint="a variable without a value is empty; declare it with ARG or ENV before",
            )
        return found

    def _pairs(self, instruction: Env | Label) -> tuple[Pair, ...]:
        found = tuple(Pair(self._one(p.key), self._one(p.value)) for p in instruction.pairs)
        for pair, written in zip(found, instruction.pairs, strict=True):
            if not pair.key or (isinstance(instruction, Env) and "=" in pair.key):
                raise Wrong(f"{show(written.key)} gives no name", word=written.key)
        return found

    def _ports(self, instruction: Expose) -> tuple[str, ...]:
        found: dict[str, None] = {}
        spelled = 0
        for word in instruction.ports:
            words = shellword.expand_words(word, self._env, escape=self._escape, seen=self._seen)
            for each in words:
                try:
                    more = ports.parse(each)
                except Wrong as error:
                    raise Wrong(error.message, word=word, hint=error.hint) from None
                spelled += len(more)  # each time: the same range again is work again
                if spelled > ports.MAX_PORTS:
                    raise Wrong(f"EXPOSE has {spelled} ports, {ports.MAX_PORTS} are allowed")
                found.update(dict.fromkeys(more))
        return tuple(found)

    def _transfer(self, instruction: Copy | Add) -> Copy | Add:
        sources = tuple(self._source(each) for each in instruction.sources)
        destination = self._one(instruction.destination)
        if not destination:
            raise Wrong("the destination is empty", word=instruction.destination)
        inline = tuple(self._inline(each) for each in instruction.inline)
        several = len(sources) + len(inline) > 1
        if several and not (destination.endswith("/") or destination in {".", ".."}):
            raise Wrong(
                f"several sources cannot become the one {show(destination)}",
                word=instruction.destination,
                hint=f"name a directory: {instruction.destination}/",
            )
        found = replace(
            instruction,
            sources=sources,
            destination=destination,
            inline=inline,
            chown=self._checked(instruction.chown, _chown),
            chmod=self._checked(instruction.chmod, mode.parse),
            exclude=tuple(self._one(each) for each in instruction.exclude),
        )
        if isinstance(found, Add):
            return self._add(found)
        return found

    def _checked(self, text: str | None, check: Callable[[str], object]) -> str | None:
        if text is None:
            return None
        found = self._one(text)
        try:
            check(found)
        except Wrong as error:
            raise Wrong(error.message, word=text, hint=error.hint) from None
        return found

    def _source(self, word: str) -> str:
        found = self._one(word)
        if not found:
            raise Wrong(
                f"the source {show(word)} is empty",
                word=word,
                hint="a variable without a value is empty; write . for the whole context",
            )
        return found

    def _inline(self, heredoc: Heredoc) -> Heredoc:
        if "/" in heredoc.name or heredoc.name in {".", ".."}:
            raise Wrong(
                f"the heredoc {show(heredoc.name)} cannot be the name of a file",
                word=heredoc.name,
                hint="a plain word, as <<EOF; the destination says where the file goes",
            )
        if not heredoc.expand:
            return heredoc
        return replace(
            heredoc,
            content=shellword.expand_text(heredoc.content, self._env, seen=self._seen),
            expand=False,
        )

    def _add(self, found: Add) -> Add:
        checksum = self._checked(found.checksum, _checksum)
        if checksum is not None and len(found.sources) + len(found.inline) != 1:
            raise Wrong("--checksum is for one source only", word="--checksum")
        return replace(found, checksum=checksum)


def _chown(text: str) -> None:
    user, colon, group = text.partition(":")
    if not user or (colon and not group) or ":" in group or any(c.isspace() for c in text):
        raise Wrong(
            f"--chown={show(text)} names no owner", hint="expected USER, USER:GROUP, UID or UID:GID"
        )
    for part in (user, group):
        if part.isascii() and part.isdigit() and (len(part) > 10 or int(part) > MAX_ID):
            raise Wrong(f"--chown={show(text)}: {part[:20]} is too large", hint=f"up to {MAX_ID}")


def _checksum(text: str) -> None:
    if not _CHECKSUM.fullmatch(text):
        raise Wrong(
            f"--checksum={show(text)} is no checksum",
            hint="expected sha256:HEX with 64 lower-case digits, or the hash of a commit",
        )
