"""``wirt boost``: more for a guest or a group, for a while."""

from __future__ import annotations

from wirt.cli.figures import CPU_FLAG_HELP, MEMORY_FLAG_HELP, amount, gain, told
from wirt.cli.flags import Call, Command, Flag, misuse
from wirt.cli.output import out, warn
from wirt.cli.view import human
from wirt.cli.view.table import FORMAT, show
from wirt.client.wire import quote, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = (("NAME", "Name"), ("GAIN", "Gain"), ("LEFT", "Left"), ("UNTIL", "Until"), ("BY", "By"))


def run(call: Call) -> int:
    """Boost, list boosts, or end one."""
    if call.on("list"):
        if call.args or call.on("cancel"):
            raise misuse("--list takes no guest", hint="see 'wirt boost --help'")
        boosts = call.daemon.call("GET", "/v1/boosts")
        show(call, [row(one) for one in boosts], columns=COLUMNS, identity="Name")
        return 0
    if not call.args:
        raise misuse("'wirt boost' requires a guest", hint="'wirt boost --list' shows boosts")
    name = call.args[0]
    if call.on("cancel"):
        query = [("group", True if call.on("group") else None)]
        call.daemon.call("DELETE", target(f"/v1/boosts/{quote(name, keep='/')}", query))
        return 0
    length = call.number("for")
    if length is None:
        raise misuse("for how long?", hint="write --for 2h; a boost ends by itself")
    body = {
        "target": name, "seconds": length / 1e9, "gain": gain(call), "group": call.on("group"),
    }  # fmt: skip
    made = call.daemon.call("POST", "/v1/boosts", body)
    if made["refused"]:
        warn(f"{amount('memory', made['refused'])} of memory cannot be guaranteed now")
    out(f"{row(made)['Name']} is boosted until {row(made)['Until']}: {told(made['gain'])}\n")
    return 0


def row(boost: dict[str, Any]) -> dict[str, object]:
    """A boost as the fields that templates may use."""
    import time

    by = f"calendar {boost['entry']}" if boost["entry"] else "user"
    return {
        "Name": boost["name"],
        "Gain": told(boost["gain"]),
        "Left": human.span(max(boost["until"] - time.time_ns(), 0)),
        "Until": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(boost["until"] // 10**9)),
        "By": by,
        "Group": "true" if boost["group"] else "false",
        "Target": boost["target"],
    }


COMMAND = Command(
    "boost",
    summary="Give a guest more for a while",
    arguments="[GUEST]",
    takes=(0, 1),
    flags=(
        Flag("for", kind="duration", value="DURATION", help="How long, as 2h"),
        Flag("cpu", value="FACTOR", help=CPU_FLAG_HELP),
        Flag("memory", kind="list", value="GAIN", help=MEMORY_FLAG_HELP),
        Flag("group", kind="bool", help="The name is that of a group"),
        Flag("list", kind="bool", help="List what is boosted"),
        Flag("cancel", kind="bool", help="End the boost of the guest"),
        FORMAT,
    ),
    run=run,
)
