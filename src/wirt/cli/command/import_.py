"""``wirt import``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, misuse
from wirt.cli.newimage import CHANGE, MESSAGE, print_id
from wirt.cli.upload import parts
from wirt.client.wire import target


def run(call: Call) -> int:
    """Make an image of a root file system archive."""
    source, *reference = call.args
    if "://" in source:
        raise misuse(f"cannot import {source}", hint="download it first, then name the file or -")
    query: list[tuple[str, str | None]] = [
        ("reference", reference[0] if reference else None),
        ("message", call.text("message") or None),
        ("platform", call.text("platform") or None),
        *(("change", change) for change in call.many("change")),
    ]
    answer = call.daemon.upload(
        "POST", target("/v1/images/import", query), parts(source), kind="application/x-tar"
    )
    return print_id(call, answer)


COMMAND = Command(
    "import",
    summary="Make an image of a root file system archive",
    arguments="FILE|- [REFERENCE]",
    takes=(1, 2),
    flags=(
        CHANGE,
        MESSAGE,
        Flag("platform", value="OS/ARCH", help="Platform that the files are for"),
    ),
    run=run,
)
