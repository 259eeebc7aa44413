"""The arguments with which commands are started, and the directory they are started in."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from wirt.image.build.dockerfile.ast import Command, Heredoc, Run

DEFAULT_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a RUN starts. With ``script`` that is a file of this content, to be put read-only and
    executable somewhere outside the layer; ``argv`` is empty then."""

    argv: tuple[str, ...]
    script: Heredoc | None = None


def argv(command: Command, shell: Sequence[str] = DEFAULT_SHELL) -> tuple[str, ...]:
    """The exec form as it is; the shell form given to ``shell``."""
    return (*shell, *command.words) if command.shell else command.words


def invocation(run: Run, shell: Sequence[str] = DEFAULT_SHELL) -> Invocation:
    """What a RUN starts, its heredocs included.

    A heredoc alone on the line is the script: of the shell, or of what its ``#!`` names. Else the
    shell gets the line with the heredocs behind it, as they stood.
    """
    if not run.heredocs:
        return Invocation(argv(run.command, shell))
    if run.script:
        only = run.heredocs[0]
        if only.content.startswith("#!"):
            return Invocation((), only)
        return Invocation((*shell, only.content))
    behind = "".join(f"\n{each.content}{each.name}" for each in run.heredocs)
    return Invocation((*shell, run.command.words[0] + behind))


def working_directory(current: str, wanted: str) -> str:
    """Where WORKDIR leads from ``current`` ("" at the start), always absolute and normal."""
    path = posixpath.normpath(posixpath.join("/", current, wanted))
    return f"/{path.lstrip('/')}"
