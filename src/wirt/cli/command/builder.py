"""``wirt builder ...``: what builds keep."""

from __future__ import annotations

from wirt.cli.confirm import FORCE, confirmed
from wirt.cli.flags import Call, Command, Group
from wirt.cli.output import out
from wirt.cli.view import human


def prune(call: Call) -> int:
    """Forget the results of build steps and the cache mounts."""
    if confirmed(call, "Remove everything that builds keep for the next one?"):
        told = call.daemon.call("POST", "/v1/build/prune")
        out(f"Total reclaimed space: {human.decimal_size(told['freed'])}\n")
    return 0


COMMAND = Group(
    "builder",
    summary="What builds keep",
    verbs={
        "prune": Command(
            "builder prune",
            summary="Remove what builds keep for the next one",
            flags=(FORCE,),
            run=prune,
        ),
    },
)
