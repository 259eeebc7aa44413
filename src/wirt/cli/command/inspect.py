"""``wirt inspect``: everything about guests, images, networks or volumes."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag
from wirt.cli.view.objects import FORMAT, inspect
from wirt.client.wire import quote, target
from wirt.errors import Invalid, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPES = ("guest", "container", "image", "network", "volume")


def run(call: Call) -> int:
    """Show everything about things of any type; guests first, then images, networks, volumes."""
    wanted = call.text("type").replace("container", "guest")
    kinds = (wanted,) if wanted else ("guest", "image", "network", "volume")

    def get(name: str) -> Any:
        for kind in kinds:
            try:
                return call.daemon.call("GET", _target(kind, name, plan=call.on("plan")))
            except NotFound:
                if len(kinds) == 1:
                    raise
            except Invalid as error:
                # a name that is no valid image reference may still be a network's or a volume's
                if len(kinds) == 1 or error.code == "guest.ambiguous":
                    raise
        raise NotFound(
            f"there is no guest, image, network or volume {name!r}",
            hint="see 'wirt ps -a', 'wirt images', 'wirt network ls', 'wirt volume ls'",
        )

    return inspect(call, get)


def _target(kind: str, name: str, *, plan: bool) -> str:
    if kind == "image":
        return f"/v1/images/{quote(name, keep='/')}/json"
    where = f"/v1/{kind}s/{quote(name)}"
    return target(where, [("plan", True)]) if plan and kind == "guest" else where


COMMAND = Command(
    "inspect",
    summary="Show everything about guests, images, networks or volumes",
    arguments="NAME [NAME...]",
    takes=(1, None),
    flags=(
        FORMAT,
        Flag("plan", kind="bool", help="With a guest: also what a start would do"),
        Flag("type", choices=TYPES, value="TYPE", help="Look only among things of this type"),
    ),
    run=run,
)
