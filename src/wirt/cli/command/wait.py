"""``wirt wait``."""

from __future__ import annotations

from wirt.cli.each import each
from wirt.cli.flags import Call, Command, Flag
from wirt.cli.output import out
from wirt.cli.waiting import Waiter


def run(call: Call) -> int:
    """Wait until guests have ended and print their exit codes."""
    condition = call.text("condition") or "not-running"

    def wait(name: str) -> None:
        waiter = Waiter.of_guest(call.daemon, name, condition=condition)
        try:
            out(f"{waiter.result()}\n")
        finally:
            waiter.close()

    return each(call, wait, echo=False)


COMMAND = Command(
    "wait",
    summary="Wait until guests have ended and print their exit codes",
    arguments="GUEST [GUEST...]",
    takes=(1, None),
    flags=(
        Flag(
            "condition",
            choices=("not-running", "next-exit", "removed"),
            value="WHEN",
            help="not-running (default), next-exit or removed",
        ),
    ),
    run=run,
)
