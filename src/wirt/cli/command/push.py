"""``wirt push``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag
from wirt.cli.output import harmless, out


def run(call: Call) -> int:
    """Push an image, or all images of a repository."""
    from wirt.cli.pulling import push

    quiet = call.on("quiet")
    every = call.on("all-tags")
    for line in push(call.daemon, call.args[0], quiet=quiet, all_tags=every):
        name = str(line["pushed"])
        if quiet:
            out(f"{harmless(name)}\n")
        else:
            tag = name.rpartition(":")[2]
            out(f"{harmless(tag)}: digest: {harmless(str(line['digest']))} size: {line['size']}\n")
    return 0


COMMAND = Command(
    "push",
    summary="Push an image to the registry in its name",
    arguments="NAME[:TAG]",
    takes=(1, 1),
    flags=(
        Flag("all-tags", "a", kind="bool", help="Push every tag of the repository"),
        Flag("quiet", "q", kind="bool", help="Print the name only"),
    ),
    run=run,
)
