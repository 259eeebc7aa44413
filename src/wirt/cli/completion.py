"""Completion for bash and zsh, from the tables: verbs, flags, and names that the daemon knows."""

from __future__ import annotations

from wirt.cli.flags import Command, Group

GUESTS = "wirt ps -a --format '{{.Names}}'"
IMAGES = "wirt images --format '{{.Repository}}:{{.Tag}}'"
NETWORKS = "wirt network ls --format '{{.Name}}'"
VOLUMES = "wirt volume ls -q"


def commands() -> dict[str, Command]:
    """Every command by its words, ``network create`` too; those of nouns that repeat a verb too."""
    from wirt.cli.app import known, load

    found: dict[str, Command] = {}
    for name in known():
        thing = load(name)
        if isinstance(thing, Command):
            found[name] = thing
        elif isinstance(thing, Group):
            for verb, inner in thing.verbs.items():
                command = load(inner) if isinstance(inner, str) else inner
                assert isinstance(command, Command)
                found[f"{name} {verb}"] = command
    return found


def words_of(command: Command) -> str:
    """The shell command that lists what its first argument may be; empty for files."""
    first = command.arguments.partition(" ")[0].strip("[]")
    if command.path == "cp":
        return ""
    return {
        "GUEST": GUESTS, "IMAGE": IMAGES, "NETWORK": NETWORKS, "VOLUME": VOLUMES,
    }.get(first, "")  # fmt: skip


def flags_of(command: Command) -> str:
    """Its flags, as words."""
    long = [f"--{flag.name}" for flag in command.flags]
    short = [f"-{flag.short}" for flag in command.flags if flag.short]
    return " ".join([*long, *short])


def nouns() -> dict[str, list[str]]:
    """The verbs of every noun."""
    made: dict[str, list[str]] = {}
    for path in commands():
        noun, space, verb = path.partition(" ")
        if space:
            made.setdefault(noun, []).append(verb)
    return made


def bash() -> str:
    """A script for bash: ``source <(wirt completion bash)``."""
    top = sorted({path.partition(" ")[0] for path in commands()})
    lines = [
        "# bash completion for wirt",
        "_wirt() {",
        "    local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} words=",
        "    COMPREPLY=()",
        "    if (( COMP_CWORD == 1 )); then",
        f"        COMPREPLY=($(compgen -W '{' '.join(top)}' -- \"$cur\"))",
        "        return",
        "    fi",
        "    case $verb in",
    ]
    for noun, verbs in nouns().items():
        lines += [
            f"        {noun})",
            "            if (( COMP_CWORD == 2 )); then",
            f"                COMPREPLY=($(compgen -W '{' '.join(verbs)}' -- \"$cur\"))",
            "                return",
            "            fi",
            '            verb="$verb ${COMP_WORDS[2]}"',
            "            ;;",
        ]
    lines += ["    esac", "    case $verb in"]
    for path, command in commands().items():
        source = words_of(command)
        lines += [
            f"        '{path}')",
            f"            if [[ $cur == -* ]]; then words='{flags_of(command)}'",
            f"            else words=$({source} 2>/dev/null); fi" if source else "            fi",
            "            ;;",
        ]
    lines += [
        "    esac",
        '    COMPREPLY=($(compgen -W "$words" -- "$cur"))',
        "}",
        "complete -o default -F _wirt wirt",
    ]
    return "\n".join(lines) + "\n"


def zsh() -> str:
    """A script for zsh: ``source <(wirt completion zsh)``."""
    return f"#compdef wirt\nautoload -Uz bashcompinit && bashcompinit\n{bash()}"
