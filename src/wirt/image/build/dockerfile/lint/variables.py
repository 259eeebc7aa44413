"""Rules about variables and their values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from wirt.errors import Invalid
from wirt.image.build.dockerfile import shellword
from wirt.image.build.dockerfile.ast import Arg, Env, Instruction, Label, Stage
from wirt.image.build.dockerfile.expand import expand, expand_from
from wirt.image.build.dockerfile.lint.subject import Found, Subject, keyword_of
from wirt.image.build.dockerfile.problem import suggest
from wirt.image.build.dockerfile.scope import PROXIES, Globals, Scope, global_args

_WORDS = "apikey|auth|credentials?|key|password|pword|passwd|secret|token"
_SECRET = re.compile(rf"(?:_|^)(?:{_WORDS})(?:_|$)", re.IGNORECASE)
_HARMLESS = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)


def secrets(subject: Subject) -> Iterator[Found]:
    """SecretsUsedInArgOrEnv: they stay in the image for everyone to read."""
    found: list[Instruction] = [*subject.file.args]
    found += [each for _, each in subject.instructions()]
    for each in found:
        names: list[str] = []
        if isinstance(each, Arg):
            names = [declaration.name for declaration in each.declarations]
        elif isinstance(each, Env):
            names = [pair.key for pair in each.pairs]
        for name in names:
            if _SECRET.search(name) and not _HARMLESS.search(name):
                yield Found(
                    each.at,
                    f"{keyword_of(each)} '{name}' would stay readable in the image; "
                    "use RUN --mount=type=secret",
                    name,
                )


def legacy(subject: Subject) -> Iterator[Found]:
    """LegacyKeyValueFormat."""
    for _, each in subject.instructions():
        if isinstance(each, Env | Label) and each.legacy:
            keyword = keyword_of(each)
            yield Found(each.at, f"write {keyword} key=value instead of {keyword} key value")


def undefined(subject: Subject) -> Iterator[Found]:
    """UndefinedVar: in instructions that are expanded.

    Of a base image that is not here nothing is known; then only what looks like a misspelling, or
    like a global ARG that the stage forgot to declare, is told.
    """
    try:
        known = global_args(subject.file, subject.given, subject.known)
    except Invalid:
        return
    ends: dict[str, _End] = {}
    for stage in subject.file.stages:
        walk = _Walk(subject, known, _base(subject, stage, known, ends))
        for each in stage.instructions:
            yield from walk.step(each)
        ends[str(stage.index)] = walk.end
        if stage.start.name:
            ends[stage.start.name] = walk.end


class _End:
    """The variables at the end of a stage, and whether the base's are among them."""

    def __init__(self, scope: Scope, *, sure: bool) -> None:
        self.scope = scope
        self.sure = sure


def _base(subject: Subject, stage: Stage, known: Globals, ends: dict[str, _End]) -> _End:
    path = "PATH=/bin"
    try:
        start, _ = expand_from(stage.start, known.values, name=subject.file.name)
    except Invalid:
        return _End(Scope.begin(known, (path,)), sure=False)
    if start.image.lower() in ends:
        return ends[start.image.lower()]
    if start.image == "scratch":
        return _End(Scope.begin(known, (path,)), sure=True)
    env = subject.bases.get(start.image)
    return _End(Scope.begin(known, (path, *(env or ()))), sure=env is not None)


class _Walk:
    def __init__(self, subject: Subject, known: Globals, end: _End) -> None:
        self._subject = subject
        self._known = known
        self.end = end

    def step(self, each: Instruction) -> Iterator[Found]:
        file, scope = self._subject.file, self.end.scope
        seen = shellword.Seen()
        after = scope
        with suppress(Invalid):
            if isinstance(each, Arg):
                after, seen.missing = scope.declare(file, each)
            else:
                escape = file.directives.escape
                done = expand(each, scope.values, name=file.name, escape=escape, seen=seen)
                env = done.instruction
                after = scope.set(env) if isinstance(env, Env) else scope
        for name in sorted(seen.missing - scope.declared - PROXIES):
            message = self._say(name)
            if message:
                yield Found(each.at, message, name)
        self.end = _End(after, sure=self.end.sure)

    def _say(self, name: str) -> str:
        if name in self._known.values:
            return f"'${name}' has no value here: the stage must declare it again with ARG {name}"
        scope = self.end.scope
        near = suggest(name, scope.values.keys() | scope.declared)
        if near:
            return f"'${name}' is not defined (did you mean ${near}?)"
        return f"'${name}' is not defined" if self.end.sure else ""
