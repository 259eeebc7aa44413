"""Rules about stages and what they begin from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

from wirt.errors import Invalid
from wirt.image.build.dockerfile import shellword
from wirt.image.build.dockerfile.ast import From
from wirt.image.build.dockerfile.lint.subject import Found, Subject
from wirt.image.build.dockerfile.problem import Wrong, suggest
from wirt.image.build.dockerfile.scope import Globals, global_args
from wirt.model.image import Reference

_RESERVED = {"scratch", "context"}
_VARIABLE = re.compile(r"\$\{?TARGETPLATFORM\}?")


def duplicate_name(subject: Subject) -> Iterator[Found]:
    """DuplicateStageName."""
    seen: set[str] = set()
    for stage in subject.file.stages:
        name = stage.start.name
        if name and name in seen:
            yield Found(
                stage.start.at,
                f"the stage '{name}' exists already; a name should stand for one stage",
                stage.start.name_as_written or "",
            )
        seen.add(name or "")


def reserved_name(subject: Subject) -> Iterator[Found]:
    """ReservedStageName."""
    for stage in subject.file.stages:
        if stage.start.name in _RESERVED:
            yield Found(
                stage.start.at,
                f"'{stage.start.name}' has a meaning of its own and should not name a stage",
                f" {stage.start.name_as_written}",
            )


def _told(start: From, message: str) -> Found:
    flag = f"--platform={start.platform}"
    return Found(start.at, f"{flag} {message}", flag)


def constant_platform(subject: Subject) -> Iterator[Found]:
    """FromPlatformFlagConstDisallowed: unless the stage's name says so too."""
    for stage in subject.file.stages:
        name, platform = stage.start.name or "", stage.start.platform
        if platform and "$" not in platform and not _speaks_of(name, platform.lower()):
            yield _told(stage.start, "is constant, so the build cannot be for another platform")


def _speaks_of(name: str, platform: str) -> bool:
    return any(part and part in name for part in platform.split("/"))


def redundant_platform(subject: Subject) -> Iterator[Found]:
    """RedundantTargetPlatform."""
    for stage in subject.file.stages:
        if _VARIABLE.fullmatch(stage.start.platform or ""):
            yield _told(stage.start, "says what is the default anyway")


def undefined_argument(subject: Subject) -> Iterator[Found]:
    """UndefinedArgInFrom."""
    declared = {each.name for arg in subject.file.args for each in arg.declarations}
    declared |= subject.known.keys()
    for stage in subject.file.stages:
        for name in sorted(_missing(stage.start, dict.fromkeys(declared, "x"), subject)):
            near = suggest(name, declared)
            yield Found(
                stage.start.at,
                f"'{name}' is not declared by an ARG before the first FROM"
                + (f" (did you mean {near}?)" if near else ""),
                name,
            )


def _missing(start: From, env: Mapping[str, str], subject: Subject) -> set[str]:
    seen = shellword.Seen()
    with suppress(Wrong):
        for text in (start.image, start.platform or ""):
            shellword.expand(text, env, escape=subject.file.directives.escape, seen=seen)
    return seen.missing


def invalid_default(subject: Subject) -> Iterator[Found]:
    """InvalidDefaultArgInFrom: without any build argument the base has no usable name."""
    try:
        plain: Globals = global_args(subject.file, {}, subject.known)
    except Invalid:
        return
    names = {stage.start.name for stage in subject.file.stages}
    for stage in subject.file.stages:
        if "$" not in stage.start.image:
            continue
        seen = shellword.Seen()
        try:
            image = shellword.expand(
                stage.start.image, plain.values, escape=subject.file.directives.escape, seen=seen
            )
            if image not in names:
                Reference.parse(image)
        except (Wrong, Invalid):
            yield Found(
                stage.start.at,
                f"with the default values of its ARGs '{stage.start.image}' names no image",
                stage.start.image,
            )
