"""``wirt help``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, Group
from wirt.cli.output import out


def run(call: Call) -> int:
    """Print the overview, or the help of a command or noun."""
    from wirt.cli import usage
    from wirt.cli.app import find, load

    if not call.args:
        out(usage.overview())
        return 0
    group = load(call.args[0])
    if isinstance(group, Group) and len(call.args) == 1:
        out(usage.group_help(group))
    else:
        command, _ = find(call.args)
        out(usage.command_help(command))
    return 0


COMMAND = Command(
    "help",
    summary="Print the help of wirt or of one of its commands",
    arguments="[COMMAND [VERB]]",
    takes=(0, 2),
    run=run,
)
