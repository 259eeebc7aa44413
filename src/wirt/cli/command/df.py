"""``wirt df``."""

from __future__ import annotations

import json

from wirt.cli.flags import Call, Command, Flag
from wirt.cli.output import harmless, out
from wirt.cli.view import human
from wirt.cli.view.facts import JSON
from wirt.cli.view.table import FORMAT, grid, show
from wirt.model.image import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = (
    ("TYPE", "Type"),
    ("TOTAL", "TotalCount"),
    ("ACTIVE", "Active"),
    ("SIZE", "Size"),
    ("RECLAIMABLE", "Reclaimable"),
)


def run(call: Call) -> int:
    """Show what takes how much of the disk."""
    report = call.daemon.call("GET", "/v1/df")
    if call.on("json"):
        out(json.dumps(report, indent=2) + "\n")
        return 0
    show(call, [_row(share) for share in report["shares"]], columns=COLUMNS, identity="Type")
    if call.text("format") in {"", "table"}:
        limit = report["limit"]
        of = f" (images and caches may take {human.decimal_size(limit)})" if limit else ""
        out(f"\nTogether {human.decimal_size(report['total'])}{of}\n")
        if call.on("verbose"):
            out(_details(report))
    return 0


def _row(share: dict[str, Any]) -> dict[str, object]:
    part = f" ({share['reclaimable'] * 100 // share['size']}%)" if share["size"] else ""
    counted = share["type"] != "Other"
    return {
        "Type": share["type"],
        "TotalCount": share["total"] if counted else "",
        "Active": share["active"] if counted else "",
        "Size": human.decimal_size(share["size"]),
        "Reclaimable": human.decimal_size(share["reclaimable"]) + part,
    }


def _details(report: dict[str, Any]) -> str:
    size = human.decimal_size
    images = [
        [
            harmless(_names(one)),
            human.short(one["id"]),
            human.ago(one["created_at"]),
            size(one["size"]),
            size(one["shared"]),
            size(one["size"] - one["shared"]),
            str(one["guests"]),
        ]
        for one in report["images"]
    ]
    guests = [
        [human.short(one["id"]), one["name"], harmless(one["image"]), one["state"],
         human.ago(one["created_at"]), size(one["size"])]
        for one in report["guests"]
    ]  # fmt: skip
    volumes = [[one["name"], str(one["guests"]), size(one["size"])] for one in report["volumes"]]
    parts = (
        ("Images", ["IMAGE", "IMAGE ID", "CREATED", "SIZE", "SHARED", "UNIQUE", "GUESTS"], images),
        ("Guests", ["GUEST ID", "NAME", "IMAGE", "STATE", "CREATED", "SIZE"], guests),
        ("Volumes", ["VOLUME", "GUESTS", "SIZE"], volumes),
    )
    return "".join(f"\n{title}:\n\n{grid([head, *rows])}" for title, head, rows in parts)


def _names(image: dict[str, Any]) -> str:
    return ", ".join(Reference.parse(name).familiar for name in image["references"]) or "<none>"


COMMAND = Command(
    "df",
    summary="Show what takes how much of the disk",
    flags=(
        FORMAT,
        JSON,
        Flag("verbose", "v", kind="bool", help="Show each image, guest and volume"),
    ),
    run=run,
)
