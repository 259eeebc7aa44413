"""Asking before something is removed that was not named."""

from __future__ import annotations

import posix

from wirt.cli.flags import Call, Flag, misuse
from wirt.cli.output import STDERR, write

FORCE = Flag("force", "f", kind="bool", help="Do not ask")


def confirmed(call: Call, question: str) -> bool:
    """Whether ``--force`` was given or the user says yes. Raises Invalid without a terminal."""
    if call.on("force"):
        return True
    if not posix.isatty(0):
        raise misuse(f"{question} Nobody is here to answer", hint="add --force")
    write(STDERR, f"{question} [y/N] ".encode())
    answer = posix.read(0, 100).strip().lower()
    return answer in {b"y", b"yes"}
