"""Progress of layers: bars that stand still on a terminal, plain lines everywhere else.

The daemon tells ``{"layer", "state", "total"[, "current"]}``; the words shown are docker's.
"""

from __future__ import annotations

import posix
import time

from wirt.cli.output import STDERR, harmless, say, write
from wirt.cli.view.human import decimal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WORDS = {
    "waiting": "Waiting",
    "downloading": "Downloading",
    "downloaded": "Download complete",
    "unpacking": "Extracting",
    "done": "Pull complete",
    "exists": "Already exists",
    "preparing": "Preparing",
    "uploading": "Pushing",
    "uploaded": "Pushed",
    "there": "Layer already exists",
    "mounted": "Mounted",
    "skipped": "Skipped foreign layer",
}
MOVING = frozenset({"downloading", "uploading"})
_FINAL = frozenset({"done", "exists", "uploaded", "there", "mounted", "skipped"})
EVERY = 0.1
"""Seconds between two drawings for numbers alone."""
_BAR = 30
_LEAST_BAR = 5
"""Columns."""


class Layer:
    """What is known of one layer. ``shown``: the state that stands in its line."""

    __slots__ = ("current", "name", "seen", "shown", "source", "total")

    def __init__(self, name: str) -> None:
        self.name = name
        self.shown = ""
        self.current = 0
        self.total = 0
        self.source = ""
        self.seen: set[str] = set()

    def take(self, told: dict[str, Any]) -> bool:
        """Take a line in; whether what is shown changes. A layer is unpacked while it still comes,
        so the end of either may be told first."""
        before = self.shown
        state = str(told.get("state", ""))
        self.total = int(told.get("total", 0))
        self.current = int(told.get("current", self.current))
        self.source = str(told.get("from", self.source))
        self.seen.add(state)
        if state == "downloaded" and "done" in self.seen:
            self.shown = "done"
        elif state == "downloaded" and "unpacking" in self.seen:
            self.shown = "unpacking"
        elif state not in {"unpacking", "done"} or "downloaded" in self.seen:
            self.shown = state
        return self.shown != before

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.shown in _FINAL

    def line(self, *, columns: int = 0) -> str:
        """Its line; where there are columns for it, with a bar and figures while bytes move."""
        words = WORDS.get(self.shown, self.shown)
        if self.shown == "mounted" and self.source:
            words = f"Mounted from {self.source}"
        text = f"{self.name}: {words}"
        if not columns or self.shown not in MOVING or not self.total:
            return text[:columns] if columns else text
        figures = f"{decimal_size(self.current)}/{decimal_size(self.total)}"
        width = min(_BAR, columns - len(text) - len(figures) - 4)
        if width < _LEAST_BAR:
            return f"{text} {figures}"[:columns]
        done = min(width, width * self.current // self.total)
        drawn = ("=" * done + ">")[:width].ljust(width)
        return f"{text} [{drawn}] {figures}"


class Progress:
    """Shows layers on standard error: bars when it is a terminal, else one line for each step."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._layers: dict[str, Layer] = {}
        self._drawn = 0
        self._next = 0.0
        self._bars = not quiet and posix.isatty(STDERR) and posix.environ.get(b"TERM") != b"dumb"

    def take(self, told: dict[str, Any]) -> None:
        """One line that the daemon told about a layer."""
        if self._quiet:
            return
        name = harmless(str(told["layer"]))
        layer = self._layers.setdefault(name, Layer(name))
        fresh = layer.take(told)
        if not self._bars:
            if fresh:
                say(layer.line())
        elif fresh or time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            write(STDERR, self._drawing())

    def note(self, text: str) -> None:
        """A line that stays, above the bars."""
        if self._quiet:
            return
        self.settle()
        say(text)

    def settle(self) -> None:
        """Draw the last state and leave it standing; layers told from now on stand below."""
        if self._bars and self._layers:
            write(STDERR, self._drawing())
        self._layers = {}
        self._drawn = 0

    def _drawing(self) -> bytes:
        """All lines anew, in one write so that nothing flickers."""
        from wirt.cli.terminal import size

        rows, columns = size(STDERR)
        layers = list(self._layers.values())
        room = max(1, (rows or 25) - 1)
        if len(layers) > room:  # only those that move; what is done is done
            layers = [one for one in layers if not one.final][:room] or layers[-room:]
        parts = [f"\x1b[{self._drawn}A"] if self._drawn else []
        parts += [f"\r{one.line(columns=(columns or 80) - 1)}\x1b[K\n" for one in layers]
        spare = self._drawn - len(layers)
        if spare > 0:
            parts.append("\x1b[K\n" * spare + f"\x1b[{spare}A")
        self._drawn = len(layers)
        return "".join(parts).encode("utf-8", "backslashreplace")
