"""``wirt unpause``."""

from __future__ import annotations

from wirt.cli.each import tell_each
from wirt.cli.flags import Call, Command


def run(call: Call) -> int:
    """Let paused guests go on."""
    return tell_each(call, "unpause")


COMMAND = Command(
    "unpause",
    summary="Let paused guests go on",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    run=run,
)
