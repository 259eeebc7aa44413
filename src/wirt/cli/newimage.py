"""What the commands that make an image of something have in common."""

from __future__ import annotations

import posix

from wirt.cli.flags import Call, Flag
from wirt.cli.output import out
from wirt.cli.upload import told
from wirt.client.wire import Response


def print_id(call: Call, answer: Response) -> int:
    """Print the id of the image that was made."""
    for one in told(answer, call.daemon.path, quiet=False):
        if "id" in one:
            out(f"{one['id']}\n")
    return 0


def time_given() -> str | None:
    """SOURCE_DATE_EPOCH of the environment, if it is set."""
    raw = posix.environ.get(b"SOURCE_DATE_EPOCH")
    return raw.decode("utf-8", "replace") if raw else None


CHANGE = Flag(
    "change",
    "c",
    kind="list",
    value="INSTRUCTION",
    help="Set CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR",
)
MESSAGE = Flag("message", "m", value="TEXT", help="Comment in the image's history")
