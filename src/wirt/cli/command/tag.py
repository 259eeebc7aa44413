"""``wirt tag``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command
from wirt.client.wire import quote, target


def run(call: Call) -> int:
    """Give an image a further name."""
    source, name = call.args
    where = f"/v1/images/{quote(source, keep='/')}/tag"
    call.daemon.call("POST", target(where, [("target", name)]))
    return 0


COMMAND = Command(
    "tag",
    summary="Give an image a further name",
    arguments="IMAGE NAME[:TAG]",
    takes=(2, 2),
    run=run,
)
