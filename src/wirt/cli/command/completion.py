"""``wirt completion``."""

from __future__ import annotations

from wirt.cli.flags import Call, Command, misuse
from wirt.cli.output import out


def run(call: Call) -> int:
    """Print the completion script of a shell."""
    from wirt.cli import completion

    scripts = {"bash": completion.bash, "zsh": completion.zsh}
    make = scripts.get(call.args[0])
    if make is None:
        raise misuse(f"no completion for {call.args[0]!r}", hint="write bash or zsh")
    out(make())
    return 0


COMMAND = Command(
    "completion",
    summary="Print a completion script: source <(wirt completion bash)",
    arguments="bash|zsh",
    takes=(1, 1),
    run=run,
)
