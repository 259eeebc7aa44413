"""Rules about instructions that do other than they seem to."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from wirt.image.build.dockerfile import ports
from wirt.image.build.dockerfile.ast import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Expose,
    Healthcheck,
    Instruction,
    Maintainer,
    Shell,
    Workdir,
)
from wirt.image.build.dockerfile.lint.subject import Found, Subject, keyword_of

_LAST_COUNTS = (Cmd, Entrypoint, Healthcheck)


def empty_continuation(subject: Subject) -> Iterator[Found]:
    """NoEmptyContinuation: told where the instruction begins."""
    origins = [each.at for each in subject.file.args]
    for stage in subject.file.stages:
        origins += [stage.start.at, *(each.at for each in stage.instructions)]
    for blank in subject.file.blank_continuations:
        for origin in origins:
            if origin.line < blank.line <= origin.end_line:
                yield Found(origin, f"line {blank.line} is empty inside of a continued instruction")


def maintainer(subject: Subject) -> Iterator[Found]:
    """MaintainerDeprecated."""
    for _, each in subject.instructions():
        if isinstance(each, Maintainer):
            yield Found(
                each.at,
                "MAINTAINER is deprecated; write LABEL org.opencontainers.image.authors=...",
            )


def several(subject: Subject) -> Iterator[Found]:
    """MultipleInstructionsDisallowed: of CMD, ENTRYPOINT and HEALTHCHECK the last one counts."""
    for stage in subject.file.stages:
        for kind in _LAST_COUNTS:
            found = [each for each in stage.instructions if isinstance(each, kind)]
            for each in found[:-1]:
                yield Found(
                    each.at,
                    f"this {keyword_of(each)} does nothing: line {found[-1].at.line} replaces it",
                )


def shell_form(subject: Subject) -> Iterator[Found]:
    """JSONArgsRecommended: a shell in between keeps signals from the program."""
    for each, shell in _with_seen(subject, Shell):
        if isinstance(each, Cmd | Entrypoint) and each.command.shell and not shell:
            keyword = keyword_of(each)
            yield Found(
                each.at,
                f'{keyword} runs in a shell that keeps signals; write {keyword} ["...", "..."]',
            )


def _with_seen(subject: Subject, kind: type[Shell | Workdir]) -> Iterator[tuple[Instruction, bool]]:
    """Every instruction, and whether one of ``kind`` stands before it, in its stage or in those
    that it begins from."""
    ends: dict[str, bool] = {}
    for stage in subject.file.stages:
        seen = ends.get(stage.start.image.lower(), False)
        for each in stage.instructions:
            yield each, seen
            seen = seen or isinstance(each, kind)
        if stage.start.name:
            ends[stage.start.name] = seen


def relative_workdir(subject: Subject) -> Iterator[Found]:
    """WorkdirRelativePath: it depends on what the base image's directory happens to be."""
    for each, known in _with_seen(subject, Workdir):
        if not isinstance(each, Workdir) or known:
            continue
        if not each.path.lstrip("\"'").startswith(("/", "$")):
            yield Found(
                each.at,
                f"'{each.path}' is relative to a directory that the base image decides",
                each.path,
            )


def mapped_port(subject: Subject) -> Iterator[Found]:
    """ExposeInvalidFormat."""
    for _, each in subject.instructions():
        for port in each.ports if isinstance(each, Expose) else ():
            if "$" not in port and ports.is_mapping(port):
                yield Found(
                    each.at,
                    f"'{port}': EXPOSE has no use for addresses and ports of the host",
                    port,
                )


def ignored_file(subject: Subject) -> Iterator[Found]:
    """CopyIgnoredFile (experimental): not told when rules take files back, since then a directory
    may be left out and a file in it not."""
    ignore = subject.ignore
    if ignore is None or not ignore or ignore.takes_back:
        return
    for _, each in subject.instructions():
        if not isinstance(each, Copy | Add) or (isinstance(each, Copy) and each.origin):
            continue
        for source in each.sources:
            if "$" in source or "://" in source:
                continue
            path = posixpath.normpath(source).lstrip("/")
            if path not in {"", "."} and ignore.leaves_out(path):
                yield Found(each.at, f"'{source}' is left out by .dockerignore", source)


def description(subject: Subject) -> Iterator[Found]:
    """InvalidDefinitionDescription (experimental): the comment above should begin with the name."""
    args = [*subject.file.args, *(e for _, e in subject.instructions() if isinstance(e, Arg))]
    defined = [(arg.at, [each.name for each in arg.declarations]) for arg in args]
    defined += [(s.start.at, [s.start.name]) for s in subject.file.stages if s.start.name]
    for at, names in sorted(defined, key=lambda each: each[0].line):
        if at.comment and not any(
            line.startswith(f"{name} ") for name in names for line in at.comment
        ):
            name = names[0] if len(names) == 1 else "NAME"
            yield Found(
                at, f"the comment above should be '# {name} DESCRIPTION', or an empty line between"
            )
