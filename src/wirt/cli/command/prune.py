"""``wirt prune``."""

from __future__ import annotations

from wirt.cli.confirm import FORCE, confirmed
from wirt.cli.flags import Call, Command, Flag
from wirt.cli.output import harmless, out, say
from wirt.cli.view import human
from wirt.client.wire import quote, target
from wirt.errors import WirtError

ENDED = ("created", "exited", "dead")


def run(call: Call) -> int:
    """Remove guests that do not run, networks and images that nothing uses, what builds keep."""
    images = "every image that no guest uses" if call.on("all") else "every image without a name"
    volumes = ", every anonymous volume that no guest uses" if call.on("volumes") else ""
    question = (
        f"Remove every guest that does not run, every network that no guest uses{volumes}, "
        f"{images}, and what builds keep?"
    )
    if not confirmed(call, question):
        return 0
    before = call.daemon.call("GET", "/v1/df")["total"]
    _guests(call)
    for name in call.daemon.call("POST", "/v1/networks/prune")["removed"]:
        out(f"Deleted network: {name}\n")
    if call.on("volumes"):
        for name in call.daemon.call("POST", "/v1/volumes/prune")["removed"]:
            out(f"Deleted volume: {name}\n")
    call.daemon.call("POST", "/v1/build/prune")
    query = [("all", call.on("all") or None)]
    for one in call.daemon.call("POST", target("/v1/images/prune", query))["removed"]:
        for verb, what in one.items():
            out(harmless(f"{verb.capitalize()}: {what}") + "\n")
    freed = before - call.daemon.call("GET", "/v1/df")["total"]
    out(f"Total reclaimed space: {human.decimal_size(max(0, freed))}\n")
    return 0


def _guests(call: Call) -> None:
    query: list[tuple[str, str | bool | None]] = [("all", True)]
    for guest in call.daemon.call("GET", target("/v1/guests", query)):
        if guest["state"] in ENDED:
            try:
                call.daemon.call("DELETE", f"/v1/guests/{quote(guest['id'])}")
            except WirtError as error:  # it was started, or removed, by somebody else
                say(error.message)
            else:
                out(f"Deleted guest: {guest['name']}\n")


COMMAND = Command(
    "prune",
    summary="Remove everything that nothing uses",
    flags=(
        Flag("all", "a", kind="bool", help="Images with a name too"),
        FORCE,
        Flag("volumes", kind="bool", help="Anonymous volumes too"),
    ),
    run=run,
)
