"""``wirt history``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command
from wirt.cli.output import harmless
from wirt.cli.view import human
from wirt.cli.view.table import FORMAT, NO_TRUNC, QUIET, show
from wirt.client.wire import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = (
    ("IMAGE", "ID"),
    ("CREATED", "CreatedSince"),
    ("CREATED BY", "CreatedBy"),
    ("SIZE", "Size"),
    ("COMMENT", "Comment"),
)
WIDTH = 45


def run(call: Call) -> int:
    """Show how an image was made, the youngest step first."""
    steps = call.daemon.call("GET", f"/v1/images/{quote(call.args[0], keep='/')}/history")
    cut = not call.on("no-trunc")
    show(call, [row(step, cut=cut) for step in steps], columns=COLUMNS, identity="ID")
    return 0


def row(step: dict[str, Any], *, cut: bool) -> dict[str, object]:
    """One step as the fields that templates may use, named as docker's."""
    made_by = harmless(" ".join(str(step.get("created_by") or "").split()))
    if cut and len(made_by) > WIDTH:
        made_by = made_by[: WIDTH - 1] + "…"
    identity = str(step.get("id") or "<missing>")
    created = int(step.get("created_at") or 0)
    return {
        "ID": human.short(identity) if cut else identity,
        "CreatedAt": human.timestamp(created),
        "CreatedSince": human.ago(created),
        "CreatedBy": made_by,
        "Size": human.decimal_size(step.get("size") or 0),
        "Comment": harmless(str(step.get("comment") or "")),
    }


COMMAND = Command(
    "history",
    summary="Show how an image was made",
    arguments="IMAGE",
    takes=(1, 1),
    flags=(FORMAT, NO_TRUNC, QUIET),
    run=run,
)
