"""``wirt stop``."""

from __future__ import annotations

from wirt.cli.each import TIME, tell_each
from wirt.cli.flags import Call, Command


def run(call: Call) -> int:
    """Stop guests: ask, then kill."""
    return tell_each(call, "stop", [("timeout", call.number("time"))])


COMMAND = Command(
    "stop",
    summary="Stop guests: ask, then kill",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    flags=(TIME,),
    run=run,
)
