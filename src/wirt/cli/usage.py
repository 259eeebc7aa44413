"""Help texts, made from the tables."""

from __future__ import annotations

from wirt.cli.flags import Command, Flag, Group

WIDTH = 100
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Guests", ("run", "create", "start", "stop", "restart", "kill", "pause", "unpause", "rm",
                "rename", "update")),
    ("Inside a guest", ("exec", "attach", "logs", "cp", "top", "diff")),
    ("Looking on", ("ps", "inspect", "stats", "why", "events", "port", "wait")),
    ("Images", ("build", "images", "pull", "push", "load", "save", "import", "commit", "export",
                "tag", "rmi", "history")),
    ("Registries", ("login", "logout", "search")),
    ("The disk", ("df", "prune")),
    ("Nouns", ("guest", "image", "network", "group", "volume", "builder", "registry", "store",
               "calendar")),
    ("The host", ("host", "doctor", "governor", "boost", "replay", "info", "bench", "version",
                  "completion", "help")),
)  # fmt: skip


def synopsis(command: Command) -> str:
    """``wirt run [FLAGS] IMAGE [COMMAND] [ARG...]``."""
    flags = " [FLAGS]" if len(command.flags) > 1 else ""
    arguments = f" {command.arguments}" if command.arguments else ""
    return f"wirt {command.path}{flags}{arguments}"


def spelling(flag: Flag) -> str:
    """``-e, --env NAME[=VALUE]``, long flags aligned."""
    short = f"-{flag.short}, " if flag.short else "    "
    return f"{short}--{flag.name} {flag.value}".rstrip()


def command_help(command: Command) -> str:
    """The help of one command."""
    lines = [f"Usage:  {synopsis(command)}", "", command.summary]
    lines += ["", "Flags:"]
    left = [spelling(flag) for flag in command.flags]
    margin = max(len(text) for text in left if len(text) <= 40) + 3
    for text, flag in zip(left, command.flags, strict=True):
        lines += _described(text, flag.help, margin)
    return "\n".join(lines) + "\n"


def _described(text: str, told: str, margin: int) -> list[str]:
    """One flag's lines: the spelling on the left, its description wrapped on the right."""
    words = told.split()
    lines = []
    left = f"  {text}"
    if len(text) >= margin:
        lines.append(left)
        left = ""
    while words:
        line = left.ljust(margin + 2)
        while words and len(line) + len(words[0]) < WIDTH:
            line += words.pop(0) + " "
        lines.append(line.rstrip())
        left = ""
    return lines


def group_help(group: Group) -> str:
    """The help of a noun: its verbs."""
    from wirt.cli.app import load

    lines = [f"Usage:  wirt {group.name} COMMAND", "", group.summary, "", "Commands:"]
    margin = max(len(verb) for verb in group.verbs) + 3
    for verb, inner in group.verbs.items():
        found = load(inner) if isinstance(inner, str) else inner
        assert found is not None
        lines.append(f"  {verb:<{margin}}{found.summary}")
    lines += ["", f"'wirt {group.name} COMMAND --help' tells more about a command."]
    return "\n".join(lines) + "\n"


def overview() -> str:
    """The help of the whole program."""
    from wirt.cli.app import load

    lines = [
        "Usage:  wirt [--host SOCKET] [--debug] COMMAND",
        "",
        "One host for every kind of guest: containers, microVMs and virtual machines.",
    ]
    for title, verbs in GROUPS:
        lines += ["", f"{title}:"]
        for verb in verbs:
            found = load(verb)
            assert found is not None, verb
            lines.append(f"  {verb:<12}{found.summary}")
    lines += [
        "",
        "'wirt COMMAND --help' tells more about a command.",
        "WIRT_HOST names the daemon's socket (default unix:///run/wirt/wirt.sock).",
    ]
    return "\n".join(lines) + "\n"
