"""``--chmod`` of COPY and ADD: octal, or chmod(1)'s symbolic form (``u=rwX,go=rX``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wirt.errors import Invalid

_OCTAL = re.compile(r"[0-7]{1,5}", re.ASCII)
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][rwxXst]*|[-+=][ugo])+)", re.ASCII)
_ACTION = re.compile(r"([-+=])([rwxXst]*|[ugo])", re.ASCII)
_SHIFT = {"u": 6, "g": 3, "o": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chmod:
    """A change of modes. ``text``: as written."""

    text: str

    def __post_init__(self) -> None:
        """Raises Invalid for a text that is no mode."""
        if _OCTAL.fullmatch(self.text) and int(self.text, 8) <= 0o7777:
            return
        if not all(_CLAUSE.fullmatch(clause) for clause in self.text.split(",")):
            raise Invalid(
                f"invalid --chmod {self.text[:100]!r}",
                hint="write an octal mode such as 0755, or u=rwX,go=rX",
                code="build.chmod",
            )

    def apply(self, mode: int, *, directory: bool) -> int:
        """The mode (07777) after the change."""
        if _OCTAL.fullmatch(self.text):
            return int(self.text, 8)
        for clause in self.text.split(","):
            match = _CLAUSE.fullmatch(clause)
            assert match is not None, "checked when made"
            for sign, letters in _ACTION.findall(match[2]):
                mode = _change(mode, match[1] or "a", sign, letters, directory)
        return mode


def _change(mode: int, who: str, sign: str, letters: str, directory: bool) -> int:
    whom = "ugo" if "a" in who else who
    special = 0
    if "s" in letters:
        special |= (0o4000 if "u" in whom else 0) | (0o2000 if "g" in whom else 0)
    if "t" in letters:
        special |= 0o1000
    bits = special
    for one in whom:
        bits |= _bits(mode, letters, directory) << _SHIFT[one]
    if sign == "+":
        return mode | bits
    if sign == "-":
        return mode & ~bits
    mask = sum(7 << _SHIFT[one] for one in whom)
    mask |= (0o4000 if "u" in whom else 0) | (0o2000 if "g" in whom else 0)
    return (mode & ~mask) | bits


def _bits(mode: int, letters: str, directory: bool) -> int:
    if letters in _SHIFT:
        return mode >> _SHIFT[letters] & 7
    bits = 4 * ("r" in letters) | 2 * ("w" in letters) | ("x" in letters)
    if "X" in letters and (directory or mode & 0o111):
        bits |= 1
    return bits
