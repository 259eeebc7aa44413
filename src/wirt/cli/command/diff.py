"""``wirt diff``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command
from wirt.cli.output import harmless, out
from wirt.cli.upload import told
from wirt.client.wire import quote


def run(call: Call) -> int:
    """Show what a guest changed: A added, C changed, D deleted."""
    answer = call.daemon.request("GET", f"/v1/guests/{quote(call.args[0])}/changes")
    for one in told(answer, call.daemon.path, quiet=True):
        out(f"{one['kind']} {harmless(one['path'])}\n")
    return 0


COMMAND = Command(
    "diff",
    summary="Show what a container changed",
    arguments="GUEST",
    takes=(1, 1),
    run=run,
)
