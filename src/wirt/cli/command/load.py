"""``wirt load``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag
from wirt.cli.output import harmless, out
from wirt.cli.upload import parts, told


def run(call: Call) -> int:
    """Load images from an archive."""
    source = parts(call.text("input") or "-")
    answer = call.daemon.upload("POST", "/v1/images/load", source, kind="application/x-tar")
    for one in told(answer, call.daemon.path, quiet=call.on("quiet")):
        if "loaded" in one:
            out(f"Loaded image: {harmless(str(one['loaded']))}\n")
    return 0


COMMAND = Command(
    "load",
    summary="Load images from a docker or OCI archive (plain, gzip or zstd)",
    flags=(
        Flag("input", "i", value="FILE", help="Read this file instead of standard input"),
        Flag("quiet", "q", kind="bool", help="Do not show progress"),
    ),
    run=run,
)
