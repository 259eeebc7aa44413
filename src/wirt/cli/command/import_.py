"""``wirt import``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, misuse
from wirt.cli.output import out
from wirt.cli.upload import parts, told
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
    for one in told(answer, call.daemon.path, quiet=False):
        if "id" in one:
            out(f"{one['id']}\n")
    return 0


COMMAND = Command(
    "import",
    summary="Make an image of a root file system archive",
    arguments="FILE|- [REFERENCE]",
    takes=(1, 2),
    flags=(
        Flag(
            "change",
            "c",
            kind="list",
            value="INSTRUCTION",
            help="Set CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR",
        ),
        Flag("message", "m", value="TEXT", help="Comment in the image's history"),
        Flag("platform", value="OS/ARCH", help="Platform that the files are for"),
    ),
    run=run,
)
