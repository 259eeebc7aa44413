"""``wirt pause``."""

from __future__ import annotations

from wirt.cli.each import each
from wirt.cli.flags import Call, Command
from wirt.client.wire import quote


def run(call: Call) -> int:
    """Freeze all processes of guests."""
    return each(call, lambda name: call.daemon.call("POST", f"/v1/guests/{quote(name)}/pause"))


COMMAND = Command(
    "pause",
    summary="Freeze all processes of guests",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    run=run,
)
