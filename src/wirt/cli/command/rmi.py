"""``wirt rmi``."""

from __future__ import annotations

from wirt.cli.each import each
from wirt.cli.flags import Call, Command, Flag
from wirt.cli.output import out
from wirt.client.wire import quote, target


def run(call: Call) -> int:
    """Remove names of images, and images without names."""

    def remove(name: str) -> None:
        where = f"/v1/images/{quote(name, keep='/')}"
        done = call.daemon.call("DELETE", target(where, [("force", call.on("force") or None)]))
        for one in done or ():
            for verb, what in one.items():
                out(f"{verb.capitalize()}: {what}\n")

    return each(call, remove, echo=False)


COMMAND = Command(
    "rmi",
    summary="Remove images",
    arguments="IMAGE [IMAGE...]",
    takes=(1, None),
    flags=(Flag("force", "f", kind="bool", help="Remove it with all its names"),),
    run=run,
)
