"""``wirt unpause``."""

from __future__ import annotations

from wirt.cli.each import each
from wirt.cli.flags import Call, Command
from wirt.client.wire import quote


def run(call: Call) -> int:
    """Let paused guests go on."""
    return each(call, lambda name: call.daemon.call("POST", f"/v1/guests/{quote(name)}/unpause"))


COMMAND = Command(
    "unpause",
    summary="Let paused guests go on",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    run=run,
)
