"""``wirt top``: who gets what now; with a guest its processes, as docker's."""

from __future__ import annotations

import posix

from wirt.cli.flags import Call, Command, Flag, misuse
from wirt.cli.keys import dumb
from wirt.cli.output import STDOUT, out
from wirt.cli.view.table import grid
from wirt.client.wire import quote, target

SORTS = ("name", "cpu", "memory", "entitled", "unmet", "refaults", "shares")


def run(call: Call) -> int:
    """Show the processes of a guest; without one, all guests as the governor sees them."""
    if not call.args:
        return _all(call)
    for flag in ("once", "plain", "json", "sort", "tree"):
        if call.given(flag):
            raise misuse(f"--{flag} is for 'wirt top' without a guest")
    guest, *words = call.args
    query = [("ps_args", " ".join(words) or None)]
    told = call.daemon.call("GET", target(f"/v1/guests/{quote(guest)}/top", query))
    rows = [told["titles"], *told["processes"]]
    out(grid([[str(cell) for cell in row] for row in rows]))
    return 0


def _all(call: Call) -> int:
    from wirt.cli import toplive

    terminal = posix.isatty(STDOUT) and posix.isatty(0) and not dumb()
    if call.on("once") or call.on("plain") or call.on("json") or not terminal:
        return toplive.plain(call, once=call.on("once"))
    return toplive.Screen(call).run()


COMMAND = Command(
    "top",
    summary="Show who gets what now, or the processes of a guest",
    arguments="[GUEST [PS OPTIONS]]",
    takes=(0, None),
    flags=(
        Flag("once", kind="bool", help="One table, then end"),
        Flag("plain", kind="bool", help="Tables below each other, for slow and dumb terminals"),
        Flag("json", kind="bool", help="One JSON object a tick"),
        Flag("sort", choices=SORTS, value="KEY", help="What to sort by"),
        Flag("tree", kind="bool", help="Show guests below their groups"),
    ),
    greedy=True,
    run=run,
)
