"""``wirt calendar ...``: boosts that come again."""

from __future__ import annotations

from wirt.cli.each import each
from wirt.cli.figures import CPU_FLAG_HELP, MEMORY_FLAG_HELP, gain, told
from wirt.cli.flags import Call, Command, Flag, Group
from wirt.cli.output import out
from wirt.cli.view import human
from wirt.cli.view.table import FORMAT, QUIET, show
from wirt.client.wire import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = (
    ("ID", "ID"),
    ("WHEN", "When"),
    ("NAME", "Name"),
    ("GAIN", "Gain"),
    ("STATE", "State"),
    ("NEXT", "Next"),
)


def add(call: Call) -> int:
    """Add an entry and print its id."""
    body = {
        "when": call.args[0], "target": call.args[1], "gain": gain(call),
        "group": call.on("group"),
    }  # fmt: skip
    out(f"{call.daemon.call('POST', '/v1/calendar', body)['id']}\n")
    return 0


def ls(call: Call) -> int:
    """List the entries."""
    rows = [row(one) for one in call.daemon.call("GET", "/v1/calendar")]
    show(call, rows, columns=COLUMNS, identity="ID")
    return 0


def row(entry: dict[str, Any]) -> dict[str, object]:
    """An entry as the fields that templates may use."""
    state = "in force" if entry["now"] else "waiting"
    return {
        "ID": entry["id"],
        "When": entry["when"],
        "Name": entry["name"],
        "Gain": told(entry["gain"]),
        "State": state if entry["known"] else "nobody of that name",
        "Next": human.timestamp(entry["next"])[:16],
        "Group": "true" if entry["group"] else "false",
    }


def rm(call: Call) -> int:
    """Remove entries."""
    return each(call, lambda one: call.daemon.call("DELETE", f"/v1/calendar/{quote(one)}"))


COMMAND = Group(
    "calendar",
    summary="Boosts that come again, in the host's local time",
    verbs={
        "add": Command(
            "calendar add",
            summary="Boost a guest again and again, as 'Mon-Fri 07:45-09:30' dc",
            arguments="WHEN GUEST",
            takes=(2, 2),
            flags=(
                Flag("cpu", value="FACTOR", help=CPU_FLAG_HELP),
                Flag("memory", kind="list", value="GAIN", help=MEMORY_FLAG_HELP),
                Flag("group", kind="bool", help="The name is that of a group"),
            ),
            run=add,
        ),
        "ls": Command("calendar ls", summary="List entries", flags=(FORMAT, QUIET), run=ls),
        "rm": Command(
            "calendar rm",
            summary="Remove entries",
            arguments="ID [ID...]",
            takes=(1, None),
            run=rm,
        ),
    },
)
