"""``wirt create``."""

from __future__ import annotations

from wirt.cli.creation import create, run_streams
from wirt.cli.flags import Call, Command
from wirt.cli.guestflags import GUEST_FLAGS
from wirt.cli.output import out


def run(call: Call) -> int:
    """Create a guest without starting it and print its id."""
    run_streams(call)
    out(f"{create(call, attached=True)}\n")
    return 0


COMMAND = Command(
    "create",
    summary="Create a guest without starting it",
    arguments="IMAGE [COMMAND] [ARG...]",
    takes=(1, None),
    flags=GUEST_FLAGS,
    greedy=True,
    run=run,
)
