"""The day as a picture: what everybody was due as stacked areas, what it used darker in them, what
it wanted dashed, and above them, hatched, what nobody gave it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from wirt.bench.svg import COLOURS, FAINT, INK, Canvas, Point
from wirt.cli import axis
from wirt.cli.daydata import Day, unmet
from wirt.cli.figures import amount
from wirt.cli.output import cell
from wirt.governor.journal import Share
from wirt.governor.tree import Resource

WIDTH, HEIGHT = 860, 190
_LEFT, _TOP, _GAP, _RIGHT = 84, 62, 58, 40
_KEY = "pale: due · full: used · dashed: wanted · hatched: wanted and not got · red: what happened"
_TITLES = {
    Resource.CPU: "CPU (cores)", Resource.MEMORY: "Memory", Resource.DISK: "Disk",
    Resource.NET: "Network",
}  # fmt: skip
_BYTES = frozenset({Resource.MEMORY, Resource.DISK})
_MOST_MARKS = 40
_NOTHING = Share()


def svg(day: Day) -> str:
    """The whole document; one panel a resource that there are figures of."""
    shown = [one for one in Resource if day.guests(one)]
    guests = sorted({guest for one in shown for guest in day.guests(one)}, key=day.name)
    legend = 22 * ((len(guests) + 5) // 6)
    height = _TOP + max(len(shown), 1) * (HEIGHT + _GAP) + legend + 10
    canvas = Canvas(_LEFT + WIDTH + _RIGHT, height)
    if len(day.steps) < 2:
        canvas.text((_LEFT, _TOP + 20), "no two ticks of the governor in this time")
        return str(canvas)
    first, last = (time.localtime(step.at // 10**9) for step in (day.steps[0], day.steps[-1]))
    span = f"{time.strftime('%Y-%m-%d %H:%M:%S', first)} to {time.strftime('%H:%M:%S', last)}"
    canvas.text((_LEFT, 16), f"What guests were due, used and wanted, {span}", bold=True)
    canvas.text((_LEFT, 32), _KEY)
    colours = {guest: COLOURS[number % len(COLOURS)] for number, guest in enumerate(guests)}
    for number, resource in enumerate(shown):
        _Panel(canvas, day, resource, _TOP + number * (HEIGHT + _GAP), colours).draw()
    _legend(canvas, day, guests, colours, _TOP + len(shown) * (HEIGHT + _GAP) + 4)
    return str(canvas)


def _legend(
    canvas: Canvas, day: Day, guests: Sequence[str], colours: dict[str, str], top: float
) -> None:
    for number, guest in enumerate(guests):
        x, y = _LEFT + number % 6 * 142, top + number // 6 * 22
        canvas.box((x, y), (11, 11), colours[guest])
        canvas.text((x + 16, y + 10), cell(day.name(guest))[:18])


class _Panel:
    def __init__(
        self, canvas: Canvas, day: Day, resource: Resource, top: float, colours: dict[str, str]
    ) -> None:
        self._canvas = canvas
        self._day = day
        self._resource = resource
        self._top = top
        self._colours = colours
        self._guests = day.guests(resource)
        self._begin = day.steps[0].at
        self._span = max(day.steps[-1].at - self._begin, 1)
        self._most = self._highest()

    def draw(self) -> None:
        """Grid, areas, lines, marks."""
        self._frame()
        base = [0] * len(self._day.steps)
        for guest in self._guests:
            shares = self._shares(guest)
            dues = [one.entitled if one.entitled is not None else one.use or 0 for one in shares]
            top = [b + due for b, due in zip(base, dues, strict=True)]
            colour = self._colours[guest]
            self._canvas.area(self._between(base, top), colour, opacity=0.35)
            used = [
                b + min(one.use or 0, due) for b, one, due in zip(base, shares, dues, strict=True)
            ]
            self._canvas.area(self._between(base, used), colour, opacity=0.85)
            if any(one.demand is not None for one in shares):
                wanted = [
                    b + min(one.demand or 0, due)
                    for b, one, due in zip(base, shares, dues, strict=True)
                ]
                self._canvas.line(self._line(wanted), INK, dashed=True)
            base = top
        for guest in self._guests:
            top = [b + unmet(s) for b, s in zip(base, self._shares(guest), strict=True)]
            if top != base:
                self._canvas.hatch(self._between(base, top))
            base = top
        self._host()
        self._marks()

    def _shares(self, guest: str) -> list[Share]:
        return [
            step.shares.get(guest, {}).get(self._resource, _NOTHING) for step in self._day.steps
        ]

    def _highest(self) -> float:
        most = 0
        for step in self._day.steps:
            shares = [inner[self._resource] for inner in step.shares.values()
                      if self._resource in inner]  # fmt: skip
            dues = sum(max(s.entitled or 0, s.use or 0 if s.entitled is None else 0)
                       for s in shares)  # fmt: skip
            most = max(most, dues + sum(map(unmet, shares)), step.capacity.get(self._resource) or 0)
        return max(1.06 * most, 1.0)

    def _at(self, moment: int, units: float) -> Point:
        part = min(max(units / self._most, 0.0), 1.0)
        x = _LEFT + (moment - self._begin) / self._span * WIDTH
        return x, self._top + HEIGHT * (1 - part)

    def _line(self, units: Sequence[float]) -> list[Point]:
        return [self._at(s.at, u) for s, u in zip(self._day.steps, units, strict=True)]

    def _between(self, low: Sequence[float], high: Sequence[float]) -> list[Point]:
        return self._line(low) + self._line(high)[::-1]

    def _frame(self) -> None:
        self._canvas.text((_LEFT, self._top - 8), _TITLES[self._resource], bold=True)
        left, right = self._begin, self._begin + self._span
        binary, least = self._resource in _BYTES, 10 if self._resource is Resource.CPU else 1
        for units in axis.lines(self._most, binary=binary, least=least):
            ends = [self._at(left, units), self._at(right, units)]
            self._canvas.line(ends, FAINT if units else INK)
            label = amount(self._resource, units)
            self._canvas.text((_LEFT - 6, ends[0][1] + 4), label, anchor="end")
        moments, pattern = axis.times(left, right)
        for moment in moments:
            foot = self._at(moment, 0)
            self._canvas.line([foot, (foot[0], foot[1] + 4)], INK)
            clock = time.strftime(pattern, time.localtime(moment // 10**9))
            self._canvas.text((foot[0], foot[1] + 17), clock, anchor="middle")

    def _host(self) -> None:
        """The line above which there is nothing."""
        units = [step.capacity.get(self._resource) for step in self._day.steps]
        known = [(s.at, u) for s, u in zip(self._day.steps, units, strict=True) if u is not None]
        self._canvas.line([self._at(at, u) for at, u in known], INK, width=1.6)

    def _marks(self) -> None:
        for at, what in self._day.marks[-_MOST_MARKS:]:
            if not self._begin <= at <= self._begin + self._span:
                continue
            foot = self._at(at, 0)
            self._canvas.line([foot, (foot[0], self._top)], "#d23c3c", width=0.7)
            self._canvas.text((foot[0] + 2, self._top + 9), cell(what)[:24])
