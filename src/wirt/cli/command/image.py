"""``wirt image ...``: the image verbs under their noun."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, Group
from wirt.cli.view.objects import FORMAT, inspect
from wirt.client.wire import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(call: Call) -> int:
    """Show everything about images, here or at their registries."""
    if call.on("remote"):
        return inspect(call, lambda name: _remote(call, name))
    return inspect(
        call, lambda name: call.daemon.call("GET", f"/v1/images/{quote(name, keep='/')}/json")
    )


def _remote(call: Call, name: str) -> Any:
    from wirt.cli.pulling import with_credentials
    from wirt.model.image import Reference

    wish = {"reference": name, "platform": call.text("platform")}
    domain = Reference.parse(name).domain
    return call.daemon.call("POST", "/v1/images/remote", with_credentials(domain, wish))


INSPECT = Command(
    "image inspect",
    summary="Show everything about images",
    arguments="IMAGE [IMAGE...]",
    takes=(1, None),
    flags=(
        FORMAT,
        Flag("platform", value="OS/ARCH", help="With --remote: whose configuration to show"),
        Flag("remote", kind="bool", help="Look at its registry; nothing is stored"),
    ),
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
        "pull": "pull",
        "push": "push",
        "rm": "rmi",
        "save": "save",
        "tag": "tag",
    },
)
