"""``wirt pull``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, platform_of
from wirt.cli.output import harmless, out


def run(call: Call) -> int:
    """Pull an image, or all images of a repository."""
    from wirt.cli.pulling import pull, status

    quiet = call.on("quiet")
    found = pull(
        call.daemon,
        call.args[0],
        quiet=quiet,
        platform=call.text("platform") if call.on("all-platforms") else platform_of(call),
        all_platforms=call.on("all-platforms"),
        all_tags=call.on("all-tags"),
        referrers=call.on("referrers"),
    )
    for line in found:
        if not quiet:
            out(f"Digest: {harmless(str(line['digest']))}\n{harmless(status(line))}\n")
        out(f"{harmless(str(line['name']))}\n")
    return 0


PLATFORM = Flag("platform", value="OS/ARCH", help="Another platform than this host's")
COMMAND = Command(
    "pull",
    summary="Pull an image from a registry",
    arguments="NAME[:TAG][@DIGEST]",
    takes=(1, 1),
    flags=(
        Flag("all-platforms", kind="bool", help="Keep the images of all platforms"),
        Flag("all-tags", "a", kind="bool", help="Pull every tag of the repository"),
        PLATFORM,
        Flag("quiet", "q", kind="bool", help="Print the image's full name only"),
        Flag("referrers", kind="bool", help="Also pull what speaks about it, as signatures"),
    ),
    run=run,
)
