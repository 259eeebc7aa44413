"""``wirt top``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command
from wirt.cli.output import out
from wirt.cli.view.table import grid
from wirt.client.wire import quote, target


def run(call: Call) -> int:
    """Show the processes of a guest."""
    guest, *words = call.args
    query = [("ps_args", " ".join(words) or None)]
    told = call.daemon.call("GET", target(f"/v1/guests/{quote(guest)}/top", query))
    rows = [told["titles"], *told["processes"]]
    out(grid([[str(cell) for cell in row] for row in rows]))
    return 0


COMMAND = Command(
    "top",
    summary="Show the processes of a guest",
    arguments="GUEST [PS OPTIONS]",
    takes=(1, None),
    greedy=True,
    run=run,
)
