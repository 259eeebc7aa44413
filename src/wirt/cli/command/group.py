"""``wirt group ...``: tenants and departments, and what was promised to them."""

from __future__ import annotations

from wirt.cli.claimflags import OF_GROUPS
from wirt.cli.claims import group_claims
from wirt.cli.each import each
from wirt.cli.flags import Call, Command, Group, misuse
from wirt.cli.grouptree import amount, branches, reserved
from wirt.cli.output import out
from wirt.cli.view.objects import FORMAT as OBJECT_FORMAT
from wirt.cli.view.objects import inspect
from wirt.cli.view.table import FORMAT, QUIET, show
from wirt.client.wire import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = (
    ("GROUP", "Path"),
    ("CPU", "Cpu"),
    ("MEMORY", "Memory"),
    ("DISK", "Disk"),
    ("NETWORK", "Net"),
    ("EXPANDABLE", "Expandable"),
    ("GUESTS", "Guests"),
)


def _where(path: str) -> str:
    if not path.strip("/"):
        raise misuse(f"invalid group name {path!r}", hint="write it as sales or sales/web")
    return f"/v1/groups/{quote(path, keep='/')}"


def create(call: Call) -> int:
    """Make a group and print its name."""
    body: dict[str, Any] = {"path": call.args[0], "resources": group_claims(call)}
    if call.on("expandable"):
        body["expandable"] = True
    out(f"{call.daemon.call('POST', '/v1/groups', body)['path']}\n")
    return 0


def change(call: Call) -> int:
    """Change what groups have."""
    body: dict[str, Any] = {"resources": group_claims(call)}
    if call.given("expandable"):
        body["expandable"] = call.on("expandable")
    if body == {"resources": {}}:
        raise misuse("nothing to change", hint="see 'wirt group set --help' for what can be")
    return each(call, lambda path: call.daemon.call("POST", _where(path), body))


def ls(call: Call) -> int:
    """List groups: what is promised, and of how much."""
    groups = [one for one in call.daemon.call("GET", "/v1/groups") if one["path"]]
    show(call, [row(one) for one in groups], columns=COLUMNS, identity="Path")
    return 0


def row(group: dict[str, Any]) -> dict[str, object]:
    """A group as the fields that templates may use."""
    portions = group["portions"]
    return {
        "Path": group["path"],
        "Cpu": reserved("cpu", portions["cpu"]),
        "Memory": reserved("memory", portions["memory"]),
        "Disk": reserved("disk", portions["disk"]),
        "Net": reserved("net", portions["net"]),
        "Expandable": "true" if group["expandable"] else "false",
        "Guests": ",".join(guest["name"] for guest in group["guests"]),
        "Shares": {name: one["shares"] for name, one in portions.items()},
        "Limits": {
            name: amount(name, one["limit"])
            for name, one in portions.items()
            if one["limit"] is not None
        },
    }


def tree(call: Call) -> int:
    """Show groups below each other, with their guests and what was promised."""
    groups = call.daemon.call("GET", "/v1/groups")
    top = call.args[0].strip("/") if call.args else ""
    if top:
        call.daemon.call("GET", _where(top))  # it is told when there is none
    out("".join(f"{line}\n" for line in branches(groups, top)))
    return 0


def rm(call: Call) -> int:
    """Remove groups that are empty."""
    return each(call, lambda path: call.daemon.call("DELETE", _where(path)))


def show_all(call: Call) -> int:
    """Show everything about groups."""
    return inspect(call, lambda path: call.daemon.call("GET", _where(path)))


COMMAND = Group(
    "group",
    summary="Groups of guests: tenants and departments",
    verbs={
        "create": Command(
            "group create",
            summary="Make a group",
            arguments="PATH",
            takes=(1, 1),
            flags=OF_GROUPS,
            run=create,
        ),
        "inspect": Command(
            "group inspect",
            summary="Show everything about groups",
            arguments="PATH [PATH...]",
            takes=(1, None),
            flags=(OBJECT_FORMAT,),
            run=show_all,
        ),
        "ls": Command("group ls", summary="List groups", flags=(FORMAT, QUIET), run=ls),
        "rm": Command(
            "group rm",
            summary="Remove groups that are empty",
            arguments="PATH [PATH...]",
            takes=(1, None),
            run=rm,
        ),
        "set": Command(
            "group set",
            summary="Change what groups have",
            arguments="PATH [PATH...]",
            takes=(1, None),
            flags=OF_GROUPS,
            run=change,
        ),
        "tree": Command(
            "group tree",
            summary="Show groups with their guests and promises",
            arguments="[PATH]",
            takes=(0, 1),
            run=tree,
        ),
    },
)
