"""``wirt kill``."""

from __future__ import annotations

from wirt.cli.each import tell_each
from wirt.cli.flags import Call, Command, Flag


def run(call: Call) -> int:
    """Send a signal to guests."""
    return tell_each(call, "kill", [("signal", call.text("signal") or None)])


COMMAND = Command(
    "kill",
    summary="Send a signal to guests (KILL when none is named)",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    flags=(Flag("signal", "s", value="SIGNAL", help="Name or number of the signal"),),
    run=run,
)
