"""What a word means: quotes and escapes taken away, ``$name`` and ``${name...}`` replaced.

The forms and their corner cases are those of BuildKit (reference.md, "Environment replacement").
Sizes and nesting are bounded: ``ENV a=$a$a`` forty times is a terabyte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from wirt.image.build.dockerfile.glob import Pattern
from wirt.image.build.dockerfile.problem import Wrong, show
from wirt.image.build.dockerfile.words import BLANK

MAX_RESULT = 1024 * 1024
MAX_NESTING = 100
_SPECIAL = "@*#?-$!0"
_MODIFIERS = "'-', '+', '?', ':-', ':+', ':?', '#', '##', '%', '%%', '/' and '//'"


@dataclass(slots=True)
class Seen:
    """Names that words asked for: ``used`` had a value, ``missing`` had none and no default."""

    used: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)


def expand(
    word: str, env: Mapping[str, str], *, escape: str = "\\", seen: Seen | None = None
) -> str:
    """The word as one text. Raises Wrong."""
    return _Scanner(word, env, escape, seen).whole()[0]


def expand_words(
    word: str, env: Mapping[str, str], *, escape: str = "\\", seen: Seen | None = None
) -> list[str]:
    """The word split at its unquoted blanks, those in replaced values included. Raises Wrong."""
    return _Scanner(word, env, escape, seen).whole()[1]


def expand_text(text: str, env: Mapping[str, str], *, seen: Seen | None = None) -> str:
    """The content of a heredoc: quotes are ordinary letters, the escape is ``\\``. Raises Wrong."""
    return _Scanner(text, env, "\\", seen, quotes=False).whole()[0]


class _Split:
    """The words of a text, built letter by letter."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._word: list[str] = []

    def loose(self, text: str) -> None:
        """Letters whose blanks separate words."""
        for letter in text:
            if letter in BLANK:
                self.end()
            else:
                self._word.append(letter)

    def firm(self, text: str) -> None:
        """Letters that belong to one word whatever they are."""
        if text:
            self._word.append(text)

    def end(self) -> None:
        if self._word:
            self.found.append("".join(self._word))
            self._word = []


class _Scanner:
    def __init__(
        self,
        text: str,
        env: Mapping[str, str],
        escape: str,
        seen: Seen | None,
        *,
        quotes: bool = True,
    ) -> None:
        self._text = text
        self._env = env
        self._escape = escape
        self._seen = seen if seen is not None else Seen()
        self._quotes = quotes
        self._index = 0
        self._depth = 0
        self._spent = 0

    def whole(self) -> tuple[str, list[str]]:
        return self._until("", raw=False)

    def _peek(self) -> str:
        return self._text[self._index : self._index + 1]

    def _take(self) -> str:
        letter = self._peek()
        self._index += 1
        return letter

    def _wrong(self, message: str, hint: str | None = None) -> Wrong:
        return Wrong(f"{message} in {show(self._text)}", word=self._text, hint=hint)

    def _until(self, stop: str, *, raw: bool) -> tuple[str, list[str]]:
        """The meaning of the text up to ``stop``, which is consumed. ``raw`` keeps escapes."""
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._wrong(f"more than {MAX_NESTING} substitutions are nested")
        result: list[str] = []
        split = _Split()
        while letter := self._peek():
            if letter == stop:
                self._index += 1
                self._depth -= 1
                split.end()
                return "".join(result), split.found
            piece, add = self._piece(letter, split, raw=raw)
            add(piece)
            result.append(piece)
        if stop:
            raise self._wrong(
                f"{stop!r} is missing after '${{'", hint="write \\$ for a dollar sign itself"
            )
        self._depth -= 1
        split.end()
        return "".join(result), split.found

    def _piece(self, letter: str, split: _Split, *, raw: bool) -> tuple[str, Callable[[str], None]]:
        if letter == "$":
            return self._dollar(), split.loose
        if self._quotes and letter == "'":
            return self._single(), split.firm
        if self._quotes and letter == '"':
            return self._double(raw=raw), split.firm
        self._index += 1
        if letter != self._escape:
            return letter, split.loose
        following = self._take()
        return (letter + following if raw else following), split.firm

    def _spend(self, size: int) -> None:
        """Count what is put in; what is copied from the text itself is bounded by the text."""
        self._spent += size
        if self._spent > MAX_RESULT:
            raise self._wrong(f"the values put in may have {MAX_RESULT} characters together")

    def _single(self) -> str:
        end = self._text.find("'", self._index + 1)
        if end < 0:
            raise self._wrong("a single quote is not closed", hint="write \\' for a quote itself")
        found = self._text[self._index + 1 : end]
        self._index = end + 1
        return found

    def _double(self, *, raw: bool) -> str:
        self._index += 1
        result: list[str] = []
        while letter := self._peek():
            if letter == "$":
                result.append(self._dollar())
                continue
            self._index += 1
            if letter == '"':
                return "".join(result)
            if letter == self._escape:
                following = self._peek()
                if following and following in f'"${self._escape}':
                    self._index += 1
                    letter = letter + following if raw else following
            result.append(letter)
        raise self._wrong("a double quote is not closed", hint='write \\" for a quote itself')

    def _dollar(self) -> str:
        self._index += 1
        if self._peek() != "{":
            name = self._name()
            return self._value(name, excused=False)[0] if name else "$"
        self._index += 1
        if not self._peek():
            raise self._wrong("'}' is missing after '${'")
        if self._peek() in "{}:":
            raise self._wrong(
                "a bad substitution", hint="write ${name}, or \\$ for a dollar sign itself"
            )
        name = self._name()
        return self._braced(name)

    def _braced(self, name: str) -> str:
        """The rest of ``${name``, the closing brace included."""
        modifier = self._take()
        match modifier:
            case "}":
                return self._value(name, excused=False)[0]
            case "-" | "+" | "?":
                return self._default(name, modifier, empty_is_unset=False)
            case "#" | "%":
                return self._trimmed(name, modifier)
            case "/":
                return self._replaced(name)
            case ":" if self._peek() and self._peek() in "-+?":
                return self._default(name, self._take(), empty_is_unset=True)
            case "":
                raise self._wrong("'}' is missing after '${'")
            case _:
                shown = modifier + (self._peek() if modifier == ":" else "")
                raise self._wrong(
                    f"the substitution {shown!r} is not known",
                    hint=f"after the name may stand {_MODIFIERS}",
                )

    def _default(self, name: str, modifier: str, *, empty_is_unset: bool) -> str:
        word = self._until("}", raw=False)[0]
        value, given = self._value(name, excused=modifier != "?")
        there = given and not (empty_is_unset and not value)
        if modifier == "-":
            return value if there else word
        if modifier == "+":
            return word if there else ""
        if not there:
            what = "be empty" if given else "be unset"
            raise self._wrong(
                f"{name}: {word or f'must not {what}'}",
                hint=f"give it with --build-arg {name}=... or set it before",
            )
        return value

    def _trimmed(self, name: str, modifier: str) -> str:
        longest = self._peek() == modifier
        self._index += longest
        pattern = Pattern(self._until("}", raw=True)[0])
        value = self._value(name, excused=False)[0]
        if modifier == "#":
            return value[pattern.prefix(value, longest=longest) or 0 :]
        return value[: len(value) - (pattern.suffix(value, longest=longest) or 0)]

    def _replaced(self, name: str) -> str:
        everywhere = self._peek() == "/"
        self._index += everywhere
        pattern = Pattern(self._until("/", raw=True)[0])
        replacement = self._until("}", raw=False)[0]
        value = self._value(name, excused=False)[0]
        self._spend(len(replacement) * ((len(value) + 1) if everywhere else 1))
        return pattern.replace(value, replacement, everywhere=everywhere)

    def _name(self) -> str:
        """A name, a number, or one of the shell's special parameters; "" when there is none."""
        start = self._index
        if self._peek().isdecimal():
            while self._peek().isdecimal():
                self._index += 1
            return self._text[start : self._index]
        if self._peek() and self._peek() in _SPECIAL:
            return self._take()
        while self._peek().isalpha() or self._peek().isdecimal() or self._peek() == "_":
            self._index += 1
        return self._text[start : self._index]

    def _value(self, name: str, *, excused: bool) -> tuple[str, bool]:
        """The value and whether there is one. ``excused``: the text says what to do without."""
        if name in self._env:
            self._seen.used.add(name)
            self._spend(len(self._env[name]))
            return self._env[name], True
        if not excused:
            self._seen.missing.add(name)
        return "", False
