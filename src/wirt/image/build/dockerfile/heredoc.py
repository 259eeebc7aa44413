"""``<<NAME`` on the line of a RUN, COPY or ADD (or an ONBUILD of these)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wirt.image.build.dockerfile.problem import Wrong
from wirt.image.build.dockerfile.words import BLANK, flags, halves, json_list

_WORD = re.compile(r"\d*<<(-?)([^<]+)", re.DOTALL)
_CARRIERS = {"run", "copy", "add"}
MAX_HEREDOCS = 1000


@dataclass(frozen=True, slots=True)
class Announced:
    """A heredoc that a word of a line announces."""

    name: str
    expand: bool
    chomp: bool


def parse(word: str) -> Announced | None:
    """The heredoc that a word with its quotes announces, if it does.

    Quotes around any part of the name say that the content is not expanded.
    """
    match = _WORD.fullmatch(word)
    if match is None:
        return None
    name, quoted = _unquote(match[2])
    if not name or any(letter in BLANK for letter in name):
        return None
    return Announced(name=name, expand=not quoted, chomp=match[1] == "-")


def announced(keyword: str, rest: str, line: str) -> list[Announced]:
    """The heredocs of an instruction, in the order in which their contents follow."""
    if keyword.lower() == "onbuild":
        keyword, rest = halves(rest) if rest else ("", "")
    if keyword.lower() not in _CARRIERS or "<<" not in line:
        return []
    try:
        if json_list(flags(rest)[1]) is not None:
            return []
    except Wrong:
        return []
    found = [heredoc for word in _words(line) if (heredoc := parse(word))]
    if len(found) > MAX_HEREDOCS:
        raise Wrong(f"the instruction has {len(found)} heredocs, {MAX_HEREDOCS} are allowed")
    return found


def _words(line: str) -> list[str]:
    """Words with quotes and escapes in them; none at all when a quote stays open."""
    found: list[str] = []
    word: list[str] = []
    quote = ""
    letters = iter(line)
    for letter in letters:
        if letter == "\\" and quote != "'":
            word += (letter, next(letters, ""))
        elif quote:
            quote = "" if letter == quote else quote
            word.append(letter)
        elif letter in BLANK:
            found.append("".join(word))
            word = []
        else:
            quote = letter if letter in "'\"" else ""
            word.append(letter)
    if quote:
        return []
    found.append("".join(word))
    return [word for word in found if word]


def _unquote(text: str) -> tuple[str, bool]:
    """The text without quotes and escapes, and whether it had quotes."""
    plain: list[str] = []
    quote, quoted = "", False
    letters = iter(text)
    for letter in letters:
        if letter == "\\" and quote != "'":
            following = next(letters, "")
            plain.append(letter + following if quote and following not in '"$\\' else following)
        elif quote and letter == quote:
            quote = ""
        elif not quote and letter in "'\"":
            quote, quoted = letter, True
        else:
            plain.append(letter)
    return "".join(plain), quoted
