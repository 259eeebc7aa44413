"""``wirt image prune``."""

from __future__ import annotations

from wirt.cli.confirm import FORCE, confirmed
from wirt.cli.flags import Call, Command, Flag
from wirt.cli.moment import parse
from wirt.cli.output import harmless, out
from wirt.cli.view import human
from wirt.cli.view.table import query_filters
from wirt.client.wire import target


def prune(call: Call) -> int:
    """Remove images without a name (``--all``: every image) that no guest uses."""
    which = "image" if call.on("all") else "image without a name"
    if confirmed(call, f"Remove every {which} that no guest was made from?"):
        query = [("all", call.on("all") or None), *_filters(call)]
        told = call.daemon.call("POST", target("/v1/images/prune", query))
        for one in told["removed"]:
            for verb, what in one.items():
                out(harmless(f"{verb.capitalize()}: {what}") + "\n")
        out(f"Total reclaimed space: {human.decimal_size(told['freed'])}\n")
    return 0


def _filters(call: Call) -> list[tuple[str, str]]:
    """As typed, but moments as the daemon takes them."""
    found = []
    for name, text in query_filters(call):
        key, _, value = text.partition("=")
        found.append((name, f"until={parse(value, 'filter')}" if key == "until" else text))
    return found


PRUNE = Command(
    "image prune",
    summary="Remove images that nothing uses",
    flags=(
        Flag("all", "a", kind="bool", help="Images with a name too"),
        Flag("filter", kind="list", value="KEY=VALUE", help="Only remove what matches"),
        FORCE,
    ),
    run=prune,
)
