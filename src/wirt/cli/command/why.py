"""``wirt why``: what the governor did to a guest, and why."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, moment
from wirt.cli.output import cell, out, visible
from wirt.cli.whywords import lines
from wirt.client.fastjson import encode
from wirt.client.wire import quote, target


def run(call: Call) -> int:
    """Tell each act on a guest, the oldest first."""
    name = call.args[0]
    query = [("since", moment(call, "since"))]
    changes = call.daemon.call("GET", target(f"/v1/governor/changes/{quote(name)}", query))
    if call.on("json"):
        out("".join(visible(encode(one).decode()) + "\n" for one in changes))
        return 0
    for line in lines(changes):
        out(f"{line}\n")
    if not changes:
        out(f"The governor changed nothing of {cell(name)}{_since(call)}.\n")
    return 0


def _since(call: Call) -> str:
    return " since then" if call.given("since") else " of late"


COMMAND = Command(
    "why",
    summary="Tell what the governor did to a guest, and why",
    arguments="GUEST",
    takes=(1, 1),
    flags=(
        Flag("since", value="TIME", help="From that time on, as 1h (ago)"),
        Flag("json", kind="bool", help="One JSON object a line, with all figures"),
    ),
    run=run,
)
