"""``wirt version``."""

from __future__ import annotations

from wirt import __version__
from wirt.cli.flags import Call, Command
from wirt.cli.view.facts import FORMAT, JSON, show
from wirt.errors import WirtError


def run(call: Call) -> int:
    """Show the versions of client and daemon; a missing daemon is no error here."""
    told: dict[str, object] = {"client": {"version": __version__, "api": "v1"}}
    try:
        told["daemon"] = call.daemon.call("GET", "/v1/version")
    except WirtError as error:
        if error.kind.value not in {"unavailable", "forbidden"}:
            raise
        told["daemon"] = None
    return show(call, told)


COMMAND = Command(
    "version", summary="Show the versions of client and daemon", flags=(FORMAT, JSON), run=run
)
