"""Flags as data: one table per command drives parsing, help, completion and the reference page.

The rules are those of docker's command line: ``--name value``, ``--name=value``, combined short
flags (``-it``, ``-p8080:80``), repeated lists, ``--`` ends the flags, and for ``run``, ``create``
and ``exec`` so does the first argument. Nothing here imports more than is loaded already.
"""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wirt.client.daemon import Daemon
    from wirt.errors import Invalid

    Value = str | bool | int | list[str]

MISUSE = 2
"""Exit code of a command that was typed wrongly; run, create and exec use docker's 125."""
GUESTS_CODE = frozenset({"run", "create", "exec"})
"""Commands that answer with a guest's exit codes, so ours must be told apart."""


def misuse(message: str, *, hint: str | None = None) -> Invalid:
    """The error of something typed wrongly (made here so that the hot path imports no errors)."""
    from wirt.errors import Invalid

    return Invalid(message, hint=hint, code="cli.usage")


def _truth(text: str) -> bool:
    if text in {"1", "t", "T", "true", "TRUE", "True"}:
        return True
    if text in {"0", "f", "F", "false", "FALSE", "False"}:
        return False
    raise misuse("it is neither true nor false", hint="write true or false")


def _integer(text: str) -> int:
    digits = text[1:] if text[:1] in {"-", "+"} else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        raise misuse("it is no whole number", hint="write digits, as 10")
    return int(text)


def _size(text: str) -> int:
    from wirt.model.units import parse_size

    return parse_size(text)


def _swap(text: str) -> int:
    return -1 if text == "-1" else _size(text)


def _portion(text: str) -> int:
    from wirt.model.units import parse_cpus

    return parse_cpus(text)


def _rate(text: str) -> int:
    from wirt.model.units import parse_rate

    return parse_rate(text)


def _duration(text: str) -> int:
    from wirt.model.units import parse_duration

    return parse_duration(text)


CONVERT: dict[str, Callable[[str], Value]] = {
    "bool": _truth,
    "text": str,
    "list": str,
    "int": _integer,
    "size": _size,
    "swap": _swap,
    "portion": _portion,
    "rate": _rate,
    "duration": _duration,
}
"""Kind of a flag to what makes a value of the typed text. Sizes are bytes, durations nanoseconds,
portions of CPUs thousandths of a core, rates bits a second."""


SYNONYMS = {"net": "network", "net-alias": "network-alias"}
"""Spellings that docker keeps for old scripts; not in the help."""


class Flag:
    """One flag. ``value`` names its argument in the help (empty for a bool)."""

    __slots__ = ("choices", "help", "kind", "name", "short", "value")

    def __init__(
        self,
        name: str,
        short: str = "",
        *,
        kind: str = "text",
        value: str = "",
        help: str,
        choices: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.value = value or ("" if kind == "bool" else kind if kind != "text" else "string")
        self.help = help
        self.choices = choices

    def spelled(self) -> str:
        """``-e, --env`` as in docker's messages."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    def read(self, text: str) -> Value:
        """The typed text as a value. Raises Invalid naming the flag."""
        if self.choices and text not in self.choices:
            raise misuse(
                f"invalid value {text!r} for {self.spelled()}",
                hint=f"write one of: {', '.join(self.choices)}",
            )
        if self.kind in {"text", "list"}:
            return text
        try:
            return CONVERT[self.kind](text)
        except Exception as error:
            hint = getattr(error, "hint", None)
            raise misuse(
                f"invalid value {text!r} for {self.spelled()}: {error}", hint=hint
            ) from error


HELP = Flag("help", kind="bool", help="Print this help")


class Call:
    """A parsed command line: the arguments, the flags' values, and the daemon to talk to."""

    __slots__ = ("_values", "args", "command", "daemon")

    def __init__(
        self, command: Command, *, args: list[str], values: dict[str, Value], daemon: Daemon
    ) -> None:
        self.command = command
        self.args = args
        self._values = values
        self.daemon = daemon

    def given(self, name: str) -> bool:
        """Whether the flag was typed."""
        return name in self._values

    def on(self, name: str) -> bool:
        """A bool flag; False when it was not typed."""
        return self._values.get(name) is True

    def text(self, name: str) -> str:
        """A text flag; empty when it was not typed."""
        value = self._values.get(name, "")
        assert isinstance(value, str)
        return value

    def many(self, name: str) -> list[str]:
        """A list flag; empty when it was not typed."""
        value = self._values.get(name)
        return value if isinstance(value, list) else []

    def number(self, name: str) -> int | None:
        """An int, size, cpus or duration flag; None when it was not typed."""
        value = self._values.get(name)
        assert value is None or isinstance(value, int)
        return value


def moment(call: Call, flag: str) -> int | None:
    """A flag's point in time as Unix nanoseconds; None when it was not typed."""
    if not call.given(flag):
        return None
    from wirt.cli.moment import parse

    return parse(call.text(flag), flag)


class Command:
    """One verb: what it takes and what it does.

    ``path``: ``run`` or ``network create``. ``arguments``: as in the help, ``IMAGE [COMMAND]``.
    ``least`` and ``most``: number of arguments. ``greedy``: the first argument ends the flags.
    ``own_code``: exit code of our own failures where the others are the guest's.
    """

    __slots__ = (
        "arguments",
        "flags",
        "greedy",
        "least",
        "most",
        "own_code",
        "path",
        "run",
        "summary",
    )

    def __init__(
        self,
        path: str,
        *,
        summary: str,
        run: Callable[[Call], int],
        arguments: str = "",
        takes: tuple[int, int | None] = (0, 0),
        flags: Sequence[Flag] = (),
        greedy: bool = False,
    ) -> None:
        self.path = path
        self.summary = summary
        self.run = run
        self.arguments = arguments
        self.least, self.most = takes
        self.flags = (*flags, HELP)
        self.greedy = greedy
        self.own_code = 125 if path in GUESTS_CODE else None

    def parse(self, words: Sequence[str]) -> tuple[list[str], dict[str, Value]]:
        """Arguments and flag values. Raises Invalid for what was typed wrongly."""
        args, values = Parser(self).parse(list(words))
        if values.get("help") is not True:
            self._count(len(args))
        return args, values

    def _count(self, number: int) -> None:
        if self.least <= number and (self.most is None or number <= self.most):
            return
        least, most = self.least, self.most
        if most == 0:
            told = "takes no arguments"
        elif least == most:
            told = f"requires exactly {least} argument{'s' * (least != 1)}"
        elif number < least:
            told = f"requires at least {least} argument{'s' * (least != 1)}"
        else:
            told = f"takes at most {most} argument{'s' * (most != 1)}"
        raise misuse(f"'wirt {self.path}' {told}", hint=f"see 'wirt {self.path} --help'")


class Group:
    """A noun with verbs. ``verbs``: name to a command, or to the top-level verb that it repeats."""

    __slots__ = ("name", "summary", "verbs")

    def __init__(self, name: str, *, summary: str, verbs: dict[str, Command | str]) -> None:
        self.name = name
        self.summary = summary
        self.verbs = verbs


class Parser:
    """Reads one command line against a command's table."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._long = {flag.name: flag for flag in command.flags}
        self._short = {flag.short: flag for flag in command.flags if flag.short}
        self.values: dict[str, Value] = {}

    def parse(self, words: list[str]) -> tuple[list[str], dict[str, Value]]:
        """The arguments left over, and the values by flag name."""
        args: list[str] = []
        position = 0
        while position < len(words):
            word = words[position]
            position += 1
            if word == "--":
                args += words[position:]
                break
            if word.startswith("--"):
                position = self._long_flag(word, words, position)
            elif word.startswith("-") and word != "-":
                position = self._short_flags(word, words, position)
            elif self._command.greedy:
                args = words[position - 1 :]
                break
            else:
                args.append(word)
        return args, self.values

    def _long_flag(self, word: str, words: list[str], position: int) -> int:
        name, equals, text = word[2:].partition("=")
        flag = self._long.get(SYNONYMS.get(name, name))
        if flag is None:
            raise self._unknown(f"--{name}", name)
        if flag.kind == "bool":
            self._set(flag, text if equals else "true")
        elif equals:
            self._set(flag, text)
        else:
            self._set(flag, self._next(flag, words, position))
            position += 1
        return position

    def _short_flags(self, word: str, words: list[str], position: int) -> int:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self._short.get(letter)
            if flag is None:
                told = f"{letter!r} in {word}" if len(word) > 2 else f"'{letter}'"
                raise misuse(
                    f"unknown shorthand flag: {told}",
                    hint=f"see 'wirt {self._command.path} --help'",
                )
            if flag.kind == "bool":
                if letters.startswith("="):
                    self._set(flag, letters[1:])
                    break
                self._set(flag, "true")
            elif letters:
                self._set(flag, letters.removeprefix("="))
                break
            else:
                self._set(flag, self._next(flag, words, position))
                position += 1
        return position

    def _next(self, flag: Flag, words: list[str], position: int) -> str:
        if position < len(words):
            return words[position]
        raise misuse(
            f"flag needs an argument: {flag.spelled()}",
            hint=f"see 'wirt {self._command.path} --help'",
        )

    def _set(self, flag: Flag, text: str) -> None:
        value = flag.read(text)
        if flag.kind != "list":
            self.values[flag.name] = value
            return
        kept = self.values.setdefault(flag.name, [])
        assert isinstance(kept, list)
        kept.append(text)

    def _unknown(self, typed: str, name: str) -> Invalid:
        if name == "json" and "format" in self._long:
            return misuse(f"unknown flag: {typed}", hint="write --format json")
        near = nearest(name, list(self._long))
        see = f"see 'wirt {self._command.path} --help'"
        return misuse(
            f"unknown flag: {typed}", hint=f"did you mean --{near}? {see}" if near else see
        )


def nearest(word: str, known: Sequence[str]) -> str:
    """The one of ``known`` that ``word`` is most probably a typing error of, or empty."""
    best, least = "", max(1, len(word) // 3) + 1
    for candidate in known:
        distance = _distance(word, candidate)
        if distance < least:
            best, least = candidate, distance
    return best


def _distance(one: str, other: str) -> int:
    """Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and b == one[i - 2]:
                best = min(best, older[j - 2] + 1)
            row.append(best)
    return row[-1]


def platform_of(call: Call) -> str:
    """The platform that was asked for, by ``--platform`` or docker's variable; ``""``: none."""
    said = posix.environ.get(b"DOCKER_DEFAULT_PLATFORM", b"").decode("utf-8", "replace")
    return call.text("platform") or said
