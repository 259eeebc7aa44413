"""The command line's frame: find the command, run it, and turn what went wrong into two lines.

A command is a file in ``wirt.cli.command`` with one ``COMMAND``; that it exists registers it. Only
the file of the verb that was typed is imported.
"""

from __future__ import annotations

import posix
import sys

from wirt.cli.flags import MISUSE, Call, Command, Group, misuse, nearest
from wirt.cli.output import STDERR, colourful, say
from wirt.client.daemon import DEFAULT_SOCKET, Daemon, socket_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wirt.errors import WirtError

ALIASES = {"container": "guest", "ls": "ps"}
CHECKOUT_SOCKET = "/run/wirtdev/wirt.sock"


class Globals:
    """What stands before the verb: ``--host``, ``--debug``."""

    __slots__ = ("debug", "host")

    def __init__(self) -> None:
        self.host = posix.environ.get(b"WIRT_HOST", b"").decode("utf-8", "surrogateescape")
        self.debug = b"WIRT_DEBUG" in posix.environ

    def take(self, words: list[str]) -> list[str]:
        """The words from the verb on."""
        while words and words[0].startswith("-"):
            word, *words = words
            name, equals, text = word.partition("=")
            if name in {"--host", "-H"}:
                if not equals:
                    if not words:
                        raise misuse("flag needs an argument: -H, --host", hint="see 'wirt --help'")
                    text, *words = words
                self.host = text
            elif word == "--debug":
                self.debug = True
            elif word in {"--help", "-h"}:
                return ["help"]
            elif word in {"--version", "-v"}:
                return ["version", *words]
            else:
                raise misuse(f"unknown flag: {word}", hint="see 'wirt --help'")
        return words or ["help"]

    def daemon(self) -> Daemon:
        """The daemon to talk to: ``--host``, else ``WIRT_HOST``, else where the system's is."""
        return Daemon(socket_path(self.host) if self.host else DEFAULT_SOCKET)


def load(verb: str) -> Command | Group | None:
    """The command or noun of that name, or None."""
    verb = ALIASES.get(verb, verb)
    name = "import_" if verb == "import" else verb
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        return None
    module = f"wirt.cli.command.{name.replace('-', '_')}"
    try:
        __import__(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None
    found = sys.modules[module].COMMAND
    assert isinstance(found, (Command, Group))
    return found


def known() -> list[str]:
    """Every verb and noun, in alphabetical order."""
    import wirt.cli.command as package

    names = {
        name.removesuffix(".py").rstrip("_")
        for folder in package.__path__
        for name in posix.listdir(folder)
        if name.endswith(".py") and name != "__init__.py"
    }
    return sorted(names)


def find(words: list[str]) -> tuple[Command, list[str]]:
    """The command that the words name, and the words after it. Raises Invalid."""
    verb, *rest = words
    found = load(verb)
    if found is None:
        near = nearest(verb, known())
        raise misuse(
            f"{verb!r} is not a wirt command",
            hint=f"did you mean 'wirt {near}'?" if near else "see 'wirt --help'",
        )
    if isinstance(found, Command):
        return found, rest
    if not rest or rest[0] in {"--help", "-h"}:
        return _group_help(found), []
    inner = found.verbs.get(rest[0])
    if isinstance(inner, str):
        inner_found = load(inner)
        assert isinstance(inner_found, Command)
        return inner_found, rest[1:]
    if inner is not None:
        return inner, rest[1:]
    near = nearest(rest[0], list(found.verbs))
    raise misuse(
        f"'{verb} {rest[0]}' is not a wirt command",
        hint=f"did you mean 'wirt {verb} {near}'?" if near else f"see 'wirt {verb} --help'",
    )


def _group_help(group: Group) -> Command:
    def run(call: Call) -> int:
        from wirt.cli.output import out
        from wirt.cli.usage import group_help

        out(group_help(group))
        return 0

    return Command(group.name, summary=group.summary, run=run)


def complain(error: WirtError, daemon: str) -> None:
    """``wirt: message``, notes, and ``hint: ...`` on standard error."""
    red, bold, plain = ("\x1b[31m", "\x1b[1m", "\x1b[0m") if colourful(STDERR) else ("", "", "")
    from wirt.cli.output import harmless, write

    lines = [f"{red}wirt:{plain} {harmless(error.message)}"]
    lines += [f"      {harmless(note)}" for note in error.notes]
    hint = error.hint
    if hint is None and error.code == "daemon.absent":
        hint = _start_hint(daemon)
    if hint:
        lines.append(f"{bold}hint:{plain} {harmless(hint)}")
    write(STDERR, ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))


def _start_hint(path: str) -> str:
    if b"WIRT_CHECKOUT" in posix.environ and path in {CHECKOUT_SOCKET, DEFAULT_SOCKET}:
        return "start one with 'make up', or name its socket in WIRT_HOST"
    if path == DEFAULT_SOCKET:
        return "start it with 'systemctl start wirtd', or name its socket in WIRT_HOST"
    return "is the socket right? it comes from --host or WIRT_HOST"


def main(words: list[str]) -> int:
    """Run one command line and return the exit code. Never a traceback, unless ``--debug``."""
    settings = Globals()
    command: Command | None = None
    path = DEFAULT_SOCKET
    try:
        command, rest = find(settings.take(words))
        args, values = command.parse(rest)
        if values.get("help") is True:
            from wirt.cli.output import out
            from wirt.cli.usage import command_help

            out(command_help(command))
            return 0
        daemon = settings.daemon()
        path = daemon.path
        try:
            return command.run(Call(command, args=args, values=values, daemon=daemon))
        finally:
            daemon.close()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141  # as a program that SIGPIPE ended
    except Exception as error:  # noqa: BLE001 - the outermost edge
        return _failed(error, command=command, path=path, debug=settings.debug)


def _failed(error: Exception, *, command: Command | None, path: str, debug: bool) -> int:
    from wirt.cli.exit import code
    from wirt.errors import Internal, WirtError

    if debug:
        import traceback

        traceback.print_exception(error)
    own = command.own_code if command else MISUSE
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        say(f"wirt: {where}{error.strerror or error}")
        return own or 1
    if not isinstance(error, WirtError):
        error = Internal(
            f"internal error: {type(error).__name__}: {error}",
            hint="please report it with the output of 'wirt --debug ...'",
        )
    complain(error, path)
    return code(error, own) if command else MISUSE
