"""``wirt save``."""

from __future__ import annotations

from wirt.cli.download import download, refuse_terminal
from wirt.cli.flags import Call, Command, Flag
from wirt.client.wire import target


def run(call: Call) -> int:
    """Write images into an archive."""
    refuse_terminal(call)
    names = [("name", name) for name in call.args]
    query = [*names, ("format", call.text("format") or "docker")]
    download(call, call.daemon.request("GET", target("/v1/images/save", query)))
    return 0


COMMAND = Command(
    "save",
    summary="Write images into an archive",
    arguments="IMAGE [IMAGE...]",
    takes=(1, None),
    flags=(
        Flag("format", choices=("docker", "oci"), value="FORMAT", help="docker (default) or oci"),
        Flag("output", "o", value="FILE", help="Write to this file instead of standard output"),
    ),
    run=run,
)
