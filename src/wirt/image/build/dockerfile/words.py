"""Cutting the rest of an instruction into words, flags and JSON lists; quotes stay in the words.

What counts as blank is what Go's ``unicode.IsSpace`` counts, since Dockerfiles were written
against that.
"""

from __future__ import annotations

import json
import re

from wirt.image.build.dockerfile.problem import Wrong, show

BLANK = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_BLANKS = re.compile(r"[\t\v\f\r ]+")


def fields(text: str) -> list[str]:
    """The words between blanks, whatever they are made of."""
    return _BLANKS.split(text.strip(BLANK)) if text.strip(BLANK) else []


def halves(text: str) -> tuple[str, str]:
    """The first word and the rest."""
    parts = _BLANKS.split(text.strip(BLANK), maxsplit=1)
    return parts[0], parts[1] if len(parts) > 1 else ""


def quoted_words(text: str, escape: str) -> list[str]:
    """Words that may hold blanks inside quotes or behind ``escape``; both are kept for the
    expansion. An open quote reaches to the end, where the expansion refuses it."""
    found: list[str] = []
    word: list[str] = []
    begun = False
    quote = ""
    letters = iter(text)
    for letter in letters:
        if letter == escape and quote != "'":
            following = next(letters, "")
            if following:
                word += (letter, following)
                begun = True
            continue
        if quote:
            quote = "" if letter == quote else quote
        elif letter in BLANK:
            if begun:
                found.append("".join(word))
            word, begun = [], False
            continue
        elif letter in "'\"":
            quote = letter
        word.append(letter)
        begun = True
    if begun:
        found.append("".join(word))
    return found


def flags(text: str) -> tuple[list[str], str]:
    """The leading ``--words`` without their quotes, and the rest. ``--`` alone ends them."""
    found: list[str] = []
    rest = text.lstrip(BLANK)
    while rest.startswith("--"):
        word, rest = _flag(rest)
        rest = rest.lstrip(BLANK)
        if word == "--":
            break
        found.append(word)
    return found, rest


def _flag(text: str) -> tuple[str, str]:
    word: list[str] = []
    quote = ""
    index = 0
    while index < len(text):
        letter = text[index]
        if letter == "\\":
            index += 1
            word.append(text[index : index + 1])
        elif quote:
            if letter == quote:
                quote = ""
            else:
                word.append(letter)
        elif letter in "'\"":
            quote = letter
        elif letter in BLANK:
            break
        else:
            word.append(letter)
        index += 1
    return "".join(word), text[index:]


def json_list(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON list; None when the text begins with none, which makes it plain text.

    What follows the list is ignored, as docker does. Raises Wrong for a list that holds other
    things than strings: nobody means that as text.
    """
    if not text.startswith("["):
        return None
    try:
        found, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(word, str) for word in found):
        raise Wrong(
            f"the list {show(text)} holds something that is no string",
            word=text,
            hint='quote every word: ["program", "1"]',
        )
    if any("\ud800" <= letter <= "\udfff" or letter == "\0" for word in found for letter in word):
        raise Wrong(
            f"the list {show(text)} holds a character that no program can be given",
            word=text,
        )
    return tuple(found)


def _no_constant(name: str) -> None:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
