"""``wirt logs``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Flag, misuse, moment
from wirt.cli.frames import deliver
from wirt.cli.output import Unwritable
from wirt.client.daemon import unreachable
from wirt.client.frames import splitter
from wirt.client.wire import Lost, quote, target


def run(call: Call) -> int:
    """Show what a guest has written."""
    path = f"/v1/guests/{quote(call.args[0])}"
    told = call.daemon.call("GET", path)
    query = [
        ("stdout", True),
        ("stderr", True),
        ("follow", call.on("follow") or None),
        ("timestamps", call.on("timestamps") or None),
        ("tail", _tail(call.text("tail"))),
        ("since", moment(call, "since")),
        ("until", moment(call, "until")),
    ]
    pieces = splitter(tty=bool(told["spec"].get("tty")))
    answer = call.daemon.request("GET", target(f"{path}/logs", query))
    try:
        for data in answer.chunks():
            deliver(pieces.feed(data))
    except (BrokenPipeError, Unwritable):
        raise
    except (OSError, Lost, ValueError) as error:
        raise unreachable(call.daemon.path, error) from error
    return 0


def _tail(text: str) -> str | None:
    if text in {"", "all"}:
        return None
    if not (text.isascii() and text.isdigit()):
        raise misuse(
            f"invalid value {text!r} for -n, --tail", hint="write a number of lines or all"
        )
    return text


COMMAND = Command(
    "logs",
    summary="Show what a guest has written",
    arguments="GUEST",
    takes=(1, 1),
    flags=(
        Flag("follow", "f", kind="bool", help="Go on showing new output until the guest ends"),
        Flag(
            "since",
            value="TIME",
            help="Only what is younger: 10m, 2026-01-31T12:00:00Z, or seconds",
        ),
        Flag("tail", "n", value="N", help="Only the last N lines"),
        Flag("timestamps", "t", kind="bool", help="Show the time of each line"),
        Flag("until", value="TIME", help="Only what is older"),
    ),
    run=run,
)
