"""The reference page of the command line, ``docs/reference/cli.md``, made from the tables.

Print it with ``python -m wirt.cli.reference``; a test compares the page with it.
"""

from __future__ import annotations

from wirt.cli.completion import commands
from wirt.cli.exit import EXIT
from wirt.cli.flags import Command, Flag
from wirt.cli.usage import synopsis

INTRODUCTION = """\
# The command line

This page is generated from the tables that the client parses with (`make docs`); a test keeps it
so.

`wirt [--host SOCKET] [--debug] COMMAND`: the daemon's socket is named by `--host`, else by
`WIRT_HOST` (`unix:///path` or a path), else it is `/run/wirt/wirt.sock`; `bin/wirt` of a checkout
prefers the daemon that `make up` started. Results go to standard output, talk and errors to
standard error, in two lines: what is wrong, and a hint what would help. `NO_COLOR` is respected.

Flags are docker's: `--name value` or `--name=value`, short ones can be combined (`-it`), lists are
repeated, `--` ends them. For `run`, `create` and `exec` they stop at the first argument.

## Exit codes

`run`, `exec`, `attach` and `start -a` end with the guest's code (128 + n for a signal). Failures of
`run`, `create` and `exec` themselves are 125, a program that cannot be executed 126, one that is
not found 127. The others:

| error | code |
|---|---|
"""


def markdown() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    parts += [f"| {kind.value} | {code} |\n" for kind, code in EXIT.items()]
    parts.append("\n130 is a client ended by ctrl-C, 141 one whose reader went away.\n")
    seen: set[int] = set()
    for command in commands().values():
        if id(command) not in seen:
            seen.add(id(command))
            parts.append(_section(command))
    return "".join(parts)


def _section(command: Command) -> str:
    lines = [
        "",
        f"## wirt {command.path}",
        "",
        f"`{synopsis(command)}`",
        "",
        f"{command.summary}.",
    ]
    flags = [flag for flag in command.flags if flag.name != "help"]
    if flags:
        lines += ["", "| flag | meaning |", "|---|---|", *(_row(flag) for flag in flags)]
    return "\n".join(lines) + "\n"


def _row(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else ""
    spelled = f"{short}--{flag.name} {flag.value}".rstrip()
    return f"| `{_cell(spelled)}` | {_cell(flag.help)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(markdown(), end="")
