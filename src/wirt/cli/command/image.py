"""``wirt image ...``: the image verbs under their noun."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, Group
from wirt.cli.image_prune import PRUNE
from wirt.cli.image_tree import TREE
from wirt.cli.output import harmless, out
from wirt.cli.upload import told
from wirt.cli.view import human
from wirt.cli.view.objects import FORMAT, inspect
from wirt.client.wire import quote, target

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
    from wirt.cli.pulling import registry_of, with_credentials

    wish = with_credentials(
        registry_of(name), {"reference": name, "platform": call.text("platform")}
    )
    return call.daemon.call("POST", "/v1/images/remote", wish)


def diff(call: Call) -> int:
    """Show what the second image has other than the first, with sizes and a sum."""
    old, new = call.args
    place = f"/v1/images/{quote(new, keep='/')}/changes"
    answer = call.daemon.request("GET", target(place, [("since", old)]))
    counts = {"A": 0, "C": 0, "D": 0}
    grown = 0
    for one in told(answer, call.daemon.path, quiet=True):
        size, before = int(one["size"]), int(one["before"])
        counts[str(one["kind"])] += 1
        grown += size - before
        out(f"{one['kind']} {_sizes(one['kind'], size, before):>21} {harmless(one['path'])}\n")
    sign = "-" if grown < 0 else "+"
    out(
        f"{counts['A']} added, {counts['C']} changed, {counts['D']} deleted, "
        f"{sign}{human.decimal_size(abs(grown))}\n"
    )
    return 0


def _sizes(kind: str, size: int, before: int) -> str:
    if kind == "C" and size != before:
        return f"{human.decimal_size(before)} > {human.decimal_size(size)}"
    return human.decimal_size(before if kind == "D" else size)


DIFF = Command(
    "image diff",
    summary="Show what an image has other than another",
    arguments="OLD NEW",
    takes=(2, 2),
    run=diff,
)
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
        "diff": DIFF,
        "history": "history",
        "import": "import",
        "inspect": INSPECT,
        "load": "load",
        "ls": "images",
        "prune": PRUNE,
        "pull": "pull",
        "push": "push",
        "rm": "rmi",
        "save": "save",
        "tag": "tag",
        "tree": TREE,
    },
)
