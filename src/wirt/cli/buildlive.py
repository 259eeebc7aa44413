"""A build's progress on a terminal: finished steps scroll up, what runs is drawn anew below.

The drawing is at most as high as the screen allows, and is removed when the build is over.
"""

from __future__ import annotations

import signal
import time

from wirt.cli.buildview import View, last_form, warning
from wirt.cli.output import STDERR, colourful, harmless, write
from wirt.cli.terminal import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Line = dict[str, Any]

TAIL = 6
"""Lines of output shown of each running step."""
_TICK = 0.25
_KEPT = 200


class _Step:
    __slots__ = ("begun", "name", "tail")

    def __init__(self, name: str) -> None:
        self.name = name
        self.begun = time.monotonic()
        self.tail: list[str] = [""]

    def log(self, text: str) -> None:
        first, *more = text.split("\n")
        self.tail[-1] = (self.tail[-1] + first)[-4096:]
        self.tail += more
        del self.tail[:-_KEPT]

    def last(self, count: int) -> list[str]:
        shown = [last_form(one) for one in self.tail]
        if not shown[-1]:
            shown.pop()
        return shown[-count:]


class LiveView(View):
    """The picture."""

    def __init__(self) -> None:
        self._steps: dict[int, _Step] = {}
        self._height = 0
        self._bold, self._dim, self._red, self._plain = (
            ("\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[0m") if colourful(STDERR) else ("", "", "", "")
        )
        self._before: Any = None

    def __enter__(self) -> LiveView:
        self._before = signal.signal(signal.SIGALRM, lambda *_: self._draw())
        signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)
        return self

    def close(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        self._steps.clear()
        self._draw()

    def show(self, raw: bytes, line: Line) -> None:
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        try:
            self._show(line)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def _show(self, line: Line) -> None:
        if "warning" in line:
            self._erase()
            warning(line)
        if "step" not in line:
            return
        number = int(line["step"])
        if "name" in line:
            self._steps[number] = _Step(harmless(str(line["name"])))
            return
        step = self._steps.get(number)
        if step is None:
            return
        if "log" in line:
            step.log(str(line["log"]))
        elif "explain" in line:
            self._print(f"{self._dim}   {step.name}: {harmless(str(line['explain']))}{self._plain}")
        elif line.get("status") == "running":
            step.begun = time.monotonic()
        else:
            del self._steps[number]
            self._finished(step, line)
        self._draw()

    def _finished(self, step: _Step, line: Line) -> None:
        if line.get("status") == "failed":
            self._print(f"{self._red}✗{self._plain} {step.name}")
            for one in step.last(_KEPT):
                self._print(f"  {self._dim}|{self._plain} {harmless(one)}")
            return
        told = "cached" if line.get("status") == "cached" else f"{float(line['seconds']):.1f}s"
        self._print(f"✓ {step.name} {self._dim}{told}{self._plain}")

    def _print(self, text: str) -> None:
        self._erase()
        write(STDERR, f"{text}\n".encode("utf-8", "backslashreplace"))

    def _erase(self) -> None:
        if self._height:
            write(STDERR, f"\x1b[{self._height}A\x1b[J".encode())
            self._height = 0

    def _draw(self) -> None:
        rows, columns = size(STDERR)
        rows, columns = rows or 24, columns or 80
        lines: list[str] = []
        for step in tuple(self._steps.values()):
            spent = time.monotonic() - step.begun
            lines.append(f"{self._bold}▸ {_cut(step.name, columns - 12)}{self._plain} {spent:.1f}s")
            lines += [
                f"{self._dim}  | {_cut(harmless(one), columns - 6)}{self._plain}"
                for one in step.last(TAIL)
            ]
        lines = lines[: max(1, rows - 2)]
        self._erase()
        if lines:
            write(STDERR, ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))
        self._height = len(lines)


def _cut(text: str, width: int) -> str:
    text = text.replace("\t", " ")
    return text if len(text) <= width else text[: max(1, width - 1)] + "…"
