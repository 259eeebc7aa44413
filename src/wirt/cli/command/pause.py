"""``wirt pause``."""

from __future__ import annotations

from wirt.cli.each import tell_each
from wirt.cli.flags import Call, Command


def run(call: Call) -> int:
    """Freeze all processes of guests."""
    return tell_each(call, "pause")


COMMAND = Command(
    "pause",
    summary="Freeze all processes of guests",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    run=run,
)
