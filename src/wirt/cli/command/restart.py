"""``wirt restart``."""

from __future__ import annotations

from wirt.cli.each import TIME, tell_each
from wirt.cli.flags import Call, Command


def run(call: Call) -> int:
    """Stop guests and start them again."""
    return tell_each(call, "restart", [("timeout", call.number("time"))])


COMMAND = Command(
    "restart",
    summary="Stop guests and start them again",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    flags=(TIME,),
    run=run,
)
