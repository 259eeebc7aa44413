"""``wirt stop``."""

from __future__ import annotations

from wirt.cli.each import each
from wirt.cli.flags import Call, Command, Flag
from wirt.client.wire import quote, target


def run(call: Call) -> int:
    """Stop guests: ask, then kill."""
    query = [("timeout", call.number("time"))]
    return each(
        call,
        lambda name: call.daemon.call("POST", target(f"/v1/guests/{quote(name)}/stop", query)),
    )


COMMAND = Command(
    "stop",
    summary="Stop guests: ask, then kill",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    flags=(
        Flag(
            "time",
            "t",
            kind="int",
            value="SECONDS",
            help="Seconds from the signal to the kill; -1 waits for ever",
        ),
    ),
    run=run,
)
