"""``wirt rm``."""

from __future__ import annotations

from wirt.cli.each import each
from wirt.cli.flags import Call, Command, Flag
from wirt.client.wire import quote, target


def run(call: Call) -> int:
    """Remove guests."""
    query = [("force", call.on("force") or None), ("volumes", call.on("volumes") or None)]

    def remove(name: str) -> None:
        from wirt.errors import NotFound

        try:
            call.daemon.call("DELETE", target(f"/v1/guests/{quote(name)}", query))
        except NotFound:
            if not call.on("force"):
                raise

    return each(call, remove)


COMMAND = Command(
    "rm",
    summary="Remove guests",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    flags=(
        Flag("force", "f", kind="bool", help="Kill a running guest; do not mind a missing one"),
        Flag("volumes", "v", kind="bool", help="Remove its anonymous volumes too"),
    ),
    run=run,
)
