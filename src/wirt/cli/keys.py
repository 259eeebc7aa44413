"""What a terminal sends for keys, and what it may draw."""

from __future__ import annotations

import posix
import re

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*([@-~])|O([ -~]))")
"""CSI and SS3 sequences (ECMA-48 5.4; xterm's application mode)."""
_KNOWN = {"A": "k", "B": "j", "5~": "K", "6~": "J"}
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)\Z")


class Keys:
    """Reads keys from what comes in pieces. Arrows are ``k`` and ``j``, pages ``K`` and ``J``;
    other sequences, as of function keys or a mouse, are nothing."""

    def __init__(self) -> None:
        self._rest = ""

    def take(self, typed: bytes) -> str:
        """The keys in it; half a sequence waits for its other half."""
        text = self._rest + typed.decode("latin-1")
        half = _UNFINISHED.search(text)
        self._rest = text[half.start() :] if half else ""
        text = text[: half.start()] if half else text
        return _SEQUENCE.sub(_key, text)


def _key(match: re.Match[str]) -> str:
    return _KNOWN.get(match[0][2:] if match[0].endswith("~") else match[1] or match[2], "")


def dumb() -> bool:
    """Whether the terminal cannot place text: ``TERM`` says so, or nothing."""
    return posix.environ.get(b"TERM", b"") in {b"", b"dumb", b"unknown"}
