"""``wirt images``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag
from wirt.cli.view import human
from wirt.cli.view.table import FILTER, FORMAT, NO_TRUNC, QUIET, query_filters, show
from wirt.client.wire import target
from wirt.model.image import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = (
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ID"),
    ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
)


def run(call: Call) -> int:
    """List images."""
    images = call.daemon.call("GET", target("/v1/images", query_filters(call)))
    images.sort(key=lambda image: image["created_at"], reverse=True)
    wanted = call.args[0] if call.args else ""
    cut = not call.on("no-trunc")
    rows = [
        row(image, name, cut=cut)
        for image in images
        for name in image["references"] or ("",)
        if not wanted or (name and _is(name, wanted))
    ]
    if call.on("quiet"):
        rows = list({one["ID"]: one for one in rows}.values())
    columns = (*COLUMNS[:2], ("DIGEST", "Digest"), *COLUMNS[2:]) if call.on("digests") else COLUMNS
    show(call, rows, columns=columns, identity="ID")
    return 0


def _is(name: str, wanted: str) -> bool:
    """Whether a reference is the one asked for: with its tag, or any tag of the name."""
    found = Reference.parse(name)
    asked = Reference.parse(wanted, default_tag="")
    same = (found.domain, found.path) == (asked.domain, asked.path)
    return same and asked.tag in {"", found.tag} and asked.digest in {"", found.digest}


def row(image: dict[str, Any], name: str, *, cut: bool) -> dict[str, object]:
    """One name of an image as the fields that templates may use, named as docker's."""
    reference = Reference.parse(name) if name else None
    return {
        "Repository": reference.familiar_name if reference else "<none>",
        "Tag": (reference.tag if reference else "") or "<none>",
        "Digest": image["targets"].get(name) or image["manifest"],
        "ID": human.short(image["id"]) if cut else image["id"],
        "CreatedAt": human.timestamp(image["created_at"]),
        "CreatedSince": human.ago(image["created_at"]),
        "Size": human.decimal_size(image["size"]),
        "Architecture": image["architecture"],
        "Os": image["os"],
    }


COMMAND = Command(
    "images",
    summary="List images",
    arguments="[NAME[:TAG]]",
    takes=(0, 1),
    flags=(
        Flag("all", "a", kind="bool", help="No effect: there are no hidden images"),
        Flag("digests", kind="bool", help="Show the digests of manifests"),
        FILTER,
        FORMAT,
        NO_TRUNC,
        QUIET,
    ),
    run=run,
)
