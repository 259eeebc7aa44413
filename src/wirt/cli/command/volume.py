"""``wirt volume ...``."""

from __future__ import annotations

from wirt.cli.confirm import FORCE, confirmed
from wirt.cli.each import each
from wirt.cli.flags import Call, Command, Flag, Group, misuse
from wirt.cli.output import out
from wirt.cli.spec import pairs
from wirt.cli.view import human
from wirt.cli.view.objects import FORMAT as OBJECT_FORMAT
from wirt.cli.view.objects import inspect
from wirt.cli.view.table import FILTER, FORMAT, QUIET, query_filters, show, text
from wirt.client.wire import quote, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = (("DRIVER", "Driver"), ("VOLUME NAME", "Name"))


def create(call: Call) -> int:
    """Make a volume and print its name."""
    if call.args and call.text("name"):
        raise misuse("the name is given twice", hint="write 'wirt volume create NAME'")
    body: dict[str, Any] = {}
    name = call.args[0] if call.args else call.text("name")
    if name:
        body["name"] = name
    for flag, key in (("label", "labels"), ("opt", "options")):
        if call.many(flag):
            body[key] = pairs(call.many(flag), f"--{flag}")
    told = call.daemon.call("POST", "/v1/volumes", body)
    out(f"{told.get('name') or told.get('id')}\n")
    return 0


def ls(call: Call) -> int:
    """List volumes."""
    volumes = call.daemon.call("GET", target("/v1/volumes", query_filters(call)))
    volumes.sort(key=lambda one: str(one["name"]))
    show(call, [row(one) for one in volumes], columns=COLUMNS, identity="Name")
    return 0


def row(volume: dict[str, Any]) -> dict[str, object]:
    """A volume as the fields that templates may use, named as docker's."""
    labels = volume.get("labels") or {}
    return {
        "Driver": volume.get("driver", "local"),
        "Name": volume["name"],
        "Scope": "local",
        "Anonymous": "true" if volume.get("anonymous") else "false",
        "CreatedAt": human.timestamp(volume.get("created_at", 0)),
        "Labels": text(labels),
        "label": labels,
    }


def rm(call: Call) -> int:
    """Remove volumes."""
    query = [("force", call.on("force") or None)]
    return each(
        call, lambda name: call.daemon.call("DELETE", target(f"/v1/volumes/{quote(name)}", query))
    )


def show_all(call: Call) -> int:
    """Show everything about volumes."""
    return inspect(call, lambda name: call.daemon.call("GET", f"/v1/volumes/{quote(name)}"))


def prune(call: Call) -> int:
    """Remove anonymous volumes (``--all``: every volume) that no guest uses."""
    which = "volume" if call.on("all") else "anonymous volume"
    if confirmed(call, f"Remove every {which} that no guest uses, with all its data?"):
        query = [("all", call.on("all") or None)]
        told = call.daemon.call("POST", target("/v1/volumes/prune", query))
        out("".join(f"{name}\n" for name in told["removed"]))
        out(f"Total reclaimed space: {human.decimal_size(told['freed'])}\n")
    return 0


COMMAND = Group(
    "volume",
    summary="Volumes",
    verbs={
        "create": Command(
            "volume create",
            summary="Make a volume",
            arguments="[NAME]",
            takes=(0, 1),
            flags=(
                Flag("driver", "d", choices=("local",), value="DRIVER", help="It is local"),
                Flag("label", kind="list", value="KEY[=VALUE]", help="Set a label"),
                Flag("name", value="NAME", help="Its name; a random one when left out"),
                Flag("opt", "o", kind="list", value="KEY=VALUE", help="Set an option"),
            ),
            run=create,
        ),
        "inspect": Command(
            "volume inspect",
            summary="Show everything about volumes",
            arguments="VOLUME [VOLUME...]",
            takes=(1, None),
            flags=(OBJECT_FORMAT,),
            run=show_all,
        ),
        "ls": Command("volume ls", summary="List volumes", flags=(FILTER, FORMAT, QUIET), run=ls),
        "prune": Command(
            "volume prune",
            summary="Remove volumes that no guest uses",
            flags=(
                Flag("all", "a", kind="bool", help="Named volumes too, not only anonymous ones"),
                FORCE,
            ),
            run=prune,
        ),
        "rm": Command(
            "volume rm",
            summary="Remove volumes",
            arguments="VOLUME [VOLUME...]",
            takes=(1, None),
            flags=(Flag("force", "f", kind="bool", help="Do not mind a missing one"),),
            run=rm,
        ),
    },
)
