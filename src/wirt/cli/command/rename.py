"""``wirt rename``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command
from wirt.client.wire import quote, target


def run(call: Call) -> int:
    """Give a guest another name."""
    old, new = call.args
    call.daemon.call("POST", target(f"/v1/guests/{quote(old)}/rename", [("name", new)]))
    return 0


COMMAND = Command(
    "rename",
    summary="Give a guest another name",
    arguments="GUEST NAME",
    takes=(2, 2),
    run=run,
)
