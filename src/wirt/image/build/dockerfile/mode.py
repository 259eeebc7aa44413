"""``--chmod``: an octal mode, or changes in the letters of chmod(1) (``u=rwX,go=rX``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wirt.image.build.dockerfile.problem import Wrong, show

_OCTAL = re.compile(r"[0-7]{1,5}", re.ASCII)
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)", re.ASCII)
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)", re.ASCII)
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}


@dataclass(frozen=True, slots=True)
class Action:
    """One change: for whom (letters of ``ugo``), ``+``, ``-`` or ``=``, and what."""

    who: str
    operator: str
    what: str


@dataclass(frozen=True, slots=True)
class Mode:
    """What ``--chmod`` says: ``octal``, else ``actions`` to be done in order."""

    octal: int | None
    actions: tuple[Action, ...] = ()

    def apply(self, mode: int, *, directory: bool) -> int:
        """The permission bits of a file that has ``mode`` now."""
        if self.octal is not None:
            return self.octal
        mode &= 0o7777
        for action in self.actions:
            mode = _change(mode, action, directory=directory)
        return mode


def parse(text: str) -> Mode:
    """Raises Wrong."""
    if _OCTAL.fullmatch(text) and int(text, 8) <= 0o7777:
        return Mode(int(text, 8))
    actions: list[Action] = []
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise Wrong(
                f"--chmod={text} is no mode".replace("\n", " ")[:120],
                word=text,
                hint="expected an octal number (0755) or letters (u=rwX,go=rX)",
            )
        who = "ugo" if not match[1] or "a" in match[1] else match[1]
        actions += [Action(who, *found) for found in _ACTION.findall(match[2])]
    if not actions:
        raise Wrong(f"--chmod={show(text)} changes nothing", word=text)
    return Mode(None, tuple(actions))


def _change(mode: int, action: Action, *, directory: bool) -> int:
    allowed = sum(7 << _SHIFT[each] for each in set(action.who))
    wanted = _wanted(mode, action, directory=directory) & allowed
    special = _special(action)
    if action.operator == "+":
        return mode | wanted | special
    if action.operator == "-":
        return mode & ~(wanted | special)
    kept = mode & ~allowed & ~_special(Action(action.who, "=", "st"))
    return kept | wanted | special


def _wanted(mode: int, action: Action, *, directory: bool) -> int:
    """The bits for everyone; the caller keeps those it is about."""
    if action.what in _SHIFT:
        bits = mode >> _SHIFT[action.what] & 7
    else:
        bits = sum(_BITS[letter] for letter in set(action.what) if letter in _BITS)
        if "X" in action.what and (directory or mode & 0o111):
            bits |= 1
    return bits << 6 | bits << 3 | bits


def _special(action: Action) -> int:
    found = 0
    if "s" in action.what:
        found |= (0o4000 if "u" in action.who else 0) | (0o2000 if "g" in action.who else 0)
    if "t" in action.what:
        found |= 0o1000
    return found
