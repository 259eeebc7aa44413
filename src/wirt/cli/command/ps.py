"""``wirt ps``: the guests, of every kind."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag
from wirt.cli.view import human
from wirt.cli.view.table import FILTER, FORMAT, NO_TRUNC, QUIET, query_filters, show, text
from wirt.client.wire import target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = (
    ("GUEST ID", "ID"),
    ("IMAGE", "Image"),
    ("KIND", "Kind"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
)


def run(call: Call) -> int:
    """List guests."""
    newest = 1 if call.on("latest") else call.number("last") or 0
    everything = call.on("all") or newest > 0
    query = [("all", everything or None), *query_filters(call)]
    guests = call.daemon.call("GET", target("/v1/guests", query))
    guests.sort(key=lambda one: one["created_at"], reverse=True)
    if newest > 0:
        guests = guests[:newest]
    cut = not call.on("no-trunc")
    show(call, [row(one, cut=cut) for one in guests], columns=COLUMNS, identity="ID")
    return 0


def row(guest: dict[str, Any], *, cut: bool) -> dict[str, object]:
    """A summary as the fields that templates may use, named as docker's."""
    accelerator = guest.get("accelerator") or ""
    kind = guest["isolation"]
    networks = guest.get("networks") or {}
    labels = guest.get("labels") or {}
    image = str(guest.get("image", ""))
    return {
        "ID": guest["id"][:12] if cut else guest["id"],
        "Image": human.short(image) if cut and image.startswith("sha256:") else image,
        "ImageID": guest.get("image_id", ""),
        "Kind": f"{kind} ({accelerator})" if accelerator else kind,
        "Isolation": kind,
        "Accelerator": accelerator,
        "Command": human.command(guest.get("command") or "", cut=cut),
        "CreatedAt": human.timestamp(guest["created_at"]),
        "RunningFor": human.ago(guest["created_at"]),
        "State": guest["state"],
        "Status": guest["status"],
        "Health": guest.get("health") or "",
        "ExitCode": guest.get("exit_code", 0),
        "Pid": guest.get("pid", 0),
        "Ports": human.ports(guest.get("ports") or []),
        "Names": guest["name"],
        "Name": guest["name"],
        "Networks": ",".join(networks),
        "Addresses": text(networks),
        "Mounts": ",".join(guest.get("mounts") or ()),
        "Labels": text(labels),
        "label": labels,
    }


COMMAND = Command(
    "ps",
    summary="List guests",
    flags=(
        Flag("all", "a", kind="bool", help="List guests in every state, not only running ones"),
        FILTER,
        FORMAT,
        Flag("last", "n", kind="int", value="N", help="Only the N youngest, in every state"),
        Flag("latest", "l", kind="bool", help="Only the youngest, in every state"),
        NO_TRUNC,
        QUIET,
    ),
    run=run,
)
