"""``wirt export``."""

from __future__ import annotations

from wirt.cli.download import download, refuse_terminal
from wirt.cli.flags import Call, Command, Flag
from wirt.client.wire import quote


def run(call: Call) -> int:
    """Write a guest's root file system as a tar archive."""
    refuse_terminal(call)
    download(call, call.daemon.request("GET", f"/v1/guests/{quote(call.args[0])}/export"))
    return 0


COMMAND = Command(
    "export",
    summary="Write a container's root file system as a tar archive",
    arguments="GUEST",
    takes=(1, 1),
    flags=(
        Flag("output", "o", value="FILE", help="Write to this file instead of standard output"),
    ),
    run=run,
)
