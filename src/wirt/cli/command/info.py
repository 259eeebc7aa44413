"""``wirt info``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command
from wirt.cli.view.facts import FORMAT, JSON, show


def run(call: Call) -> int:
    """Show the daemon and its host."""
    return show(call, call.daemon.call("GET", "/v1/info"))


COMMAND = Command("info", summary="Show the daemon and its host", flags=(FORMAT, JSON), run=run)
