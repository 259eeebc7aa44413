"""``wirt image ...``: the image verbs under their noun."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Group
from wirt.cli.view.objects import FORMAT, inspect
from wirt.client.wire import quote


def run(call: Call) -> int:
    """Show everything about images."""
    return inspect(
        call, lambda name: call.daemon.call("GET", f"/v1/images/{quote(name, keep='/')}/json")
    )


INSPECT = Command(
    "image inspect",
    summary="Show everything about images",
    arguments="IMAGE [IMAGE...]",
    takes=(1, None),
    flags=(FORMAT,),
    run=run,
)
COMMAND = Group(
    "image",
    summary="Images",
    verbs={
        "build": "build",
        "history": "history",
        "import": "import",
        "inspect": INSPECT,
        "load": "load",
        "ls": "images",
        "rm": "rmi",
        "save": "save",
        "tag": "tag",
    },
)
