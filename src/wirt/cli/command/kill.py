"""``wirt kill``."""

from __future__ import annotations

from wirt.cli.each import each
from wirt.cli.flags import Call, Command, Flag
from wirt.client.wire import quote, target


def run(call: Call) -> int:
    """Send a signal to guests."""
    query = [("signal", call.text("signal") or None)]
    return each(
        call,
        lambda name: call.daemon.call("POST", target(f"/v1/guests/{quote(name)}/kill", query)),
    )


COMMAND = Command(
    "kill",
    summary="Send a signal to guests (KILL when none is named)",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    flags=(Flag("signal", "s", value="SIGNAL", help="Name or number of the signal"),),
    run=run,
)
