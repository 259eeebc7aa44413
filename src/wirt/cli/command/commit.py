"""``wirt commit``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag
from wirt.cli.newimage import CHANGE, MESSAGE, print_id, time_given
from wirt.client.wire import quote, target


def run(call: Call) -> int:
    """Make an image of a guest's changes and print its id."""
    guest, *reference = call.args
    query: list[tuple[str, str | None]] = [
        ("reference", reference[0] if reference else None),
        ("author", call.text("author") or None),
        ("message", call.text("message") or None),
        ("pause", "0" if call.given("pause") and not call.on("pause") else None),
        ("timestamp", call.text("timestamp") or time_given()),
        *(("change", change) for change in call.many("change")),
    ]
    answer = call.daemon.request("POST", target(f"/v1/guests/{quote(guest)}/commit", query))
    return print_id(call, answer)


COMMAND = Command(
    "commit",
    summary="Make an image of a guest's changes",
    arguments="GUEST [REFERENCE]",
    takes=(1, 2),
    flags=(
        Flag("author", "a", value="TEXT", help="Author, as 'Jane <jane@example.com>'"),
        CHANGE,
        MESSAGE,
        Flag("pause", "p", kind="bool", help="Pause it meanwhile; --pause=false does not"),
        Flag("timestamp", value="SECONDS", help="The image's time, and the latest of its files"),
    ),
    run=run,
)
