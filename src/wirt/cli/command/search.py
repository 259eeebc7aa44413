"""``wirt search``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag
from wirt.cli.view.table import FORMAT, NO_TRUNC, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = (
    ("NAME", "Name"),
    ("DESCRIPTION", "Description"),
    ("STARS", "StarCount"),
    ("OFFICIAL", "IsOfficial"),
)
_CUT = 45


def run(call: Call) -> int:
    """Search a registry for repositories."""
    from wirt.cli.pulling import registry_of, with_credentials

    term = call.args[0]
    registry = registry_of(term)
    wish: dict[str, Any] = {"term": term, "limit": call.number("limit") or 25}
    if registry != "docker.io":
        wish = with_credentials(registry, wish)
    found = call.daemon.call("POST", "/v1/images/search", wish)
    cut = not call.on("no-trunc")
    show(call, [_row(one, cut=cut) for one in found], columns=COLUMNS, identity="Name")
    return 0


def _row(one: dict[str, Any], *, cut: bool) -> dict[str, object]:
    told = str(one["description"])
    if cut and len(told) > _CUT:
        told = f"{told[: _CUT - 1]}…"
    return {
        "Name": one["name"],
        "Description": told,
        "StarCount": one["stars"],
        "IsOfficial": "[OK]" if one["official"] else "",
    }


COMMAND = Command(
    "search",
    summary="Search Docker Hub, or another registry that lists its repositories",
    arguments="[REGISTRY/]TERM",
    takes=(1, 1),
    flags=(
        FORMAT,
        Flag("limit", kind="int", value="N", help="Number of results (25), at most 100"),
        NO_TRUNC,
    ),
    run=run,
)
