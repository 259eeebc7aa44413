"""Three pictures of runs: the day, latencies, and what became of the requests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wirt.bench.outcome import Result, Run
from wirt.bench.svg import COLOURS, Canvas, Point
from wirt.bench.workload import DEADLINE, Service, at, office

_INK, _FAINT, _BAD = "#222222", "#dddddd", "#c22f2f"
_LEFT, _TOP, _GAP = 66, 34, 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A coordinate system of 24 hours by ``most`` at a place of the canvas."""

    x: float
    y: float
    width: float
    height: float
    most: float

    def at(self, hour: float, value: float) -> Point:
        """Where a value lies; above the top it lies on it."""
        part = min(max(value / self.most, 0.0), 1.0) if self.most else 0.0
        return self.x + hour / 24 * self.width, self.y + self.height * (1 - part)

    def frame(self, canvas: Canvas, title: str, unit: str) -> None:
        """Title, hours and the top value."""
        canvas.text((self.x, self.y - 6), title, bold=True)
        for hour in range(0, 25, 6):
            canvas.line([self.at(hour, 0), self.at(hour, self.most)], _FAINT)
            place = self.at(hour, 0)
            canvas.text((place[0], place[1] + 13), f"{hour}:00", anchor="middle")
        if unit:
            canvas.text((self.x - 4, self.y + 8), f"{self.most:.3g} {unit}", anchor="end")
        canvas.line([self.at(0, 0), self.at(24, 0)], _INK)


def _panels(count: int, *, across: int, most: float, size: Point) -> list[Panel]:
    width, height = size
    return [
        Panel(
            x=_LEFT + (number % across) * (width + _LEFT),
            y=_TOP + (number // across) * (height + _GAP + 16),
            width=width, height=height, most=most,
        )
        for number in range(count)
    ]  # fmt: skip


def _canvas(panels: Sequence[Panel]) -> Canvas:
    width = max(panel.x + panel.width for panel in panels) + 16
    height = max(panel.y + panel.height for panel in panels) + 46
    return Canvas(round(width), round(height))


def _legend(canvas: Canvas, panels: Sequence[Panel], names: Sequence[str]) -> None:
    y = max(panel.y + panel.height for panel in panels) + 34
    for number, name in enumerate(names):
        x = _LEFT + number * 90
        canvas.box((x, y - 9), (10, 10), COLOURS[number % len(COLOURS)])
        canvas.text((x + 14, y), name)


def day(runs: Sequence[Run], resource: str) -> str:
    """One small picture a policy: what each guest was allowed (pale), used (full), and what all of
    them together would need (dashed). ``resource``: ``memory`` (MiB) or ``cpu`` (cores)."""
    plan = office(runs[0].variant, guests=runs[0].guests, scale=runs[0].scale)
    memory = resource == "memory"
    host = plan.pool.memory / (1 << 20) if memory else plan.pool.cpus
    panels = _panels(len(runs), across=2, most=host * 1.25, size=(360, 150))
    canvas = _canvas(panels)
    for run, panel in zip(runs, panels, strict=True):
        panel.frame(canvas, run.policy, "MiB" if memory else "cores")
        _stack(canvas, panel, run, memory=memory)
        canvas.line([panel.at(0, host), panel.at(24, host)], _INK)
        canvas.line(_needs(panel, plan.services, memory=memory), _INK, dashed=True)
    _legend(canvas, panels, [one.name for one in plan.services])
    return str(canvas)


def _needs(panel: Panel, services: Sequence[Service], *, memory: bool) -> list[Point]:
    curves = [one.working_set if memory else one.load for one in services if not one.antagonist]
    hours = [step / 10 for step in range(241)]
    return [panel.at(hour, sum(at(curve, hour) for curve in curves)) for hour in hours]


def _stack(canvas: Canvas, panel: Panel, run: Run, *, memory: bool) -> None:
    rows = [run.series[one.name] for one in run.results if run.series.get(one.name)]
    length = min((len(row) for row in rows), default=0)
    base = [0.0] * length
    for number, row in enumerate(rows):
        colour = COLOURS[number % len(COLOURS)]
        hours = [row[i][0] for i in range(length)]
        used = [row[i][1 if memory else 3] for i in range(length)]
        allowed = [max(row[i][2], used[i]) if memory else used[i] for i in range(length)]
        bottom = [panel.at(h, v) for h, v in zip(hours, base, strict=True)]
        for values, opacity in ((allowed, 0.3), (used, 0.9)):
            top = [panel.at(h, b + v) for h, b, v in zip(hours, base, values, strict=True)]
            canvas.area([*top, *reversed(bottom)], colour, opacity=opacity)
        base = [b + v for b, v in zip(base, allowed, strict=True)]


def latencies(runs: Sequence[Run]) -> str:
    """One small picture a policy: the p50 to p99 of each service and office hour, on a logarithmic
    scale from 1 ms to 10 s, with the deadline."""
    panels = _panels(len(runs), across=2, most=4.0, size=(360, 150))
    canvas = _canvas(panels)
    names = [one.name for one in runs[0].scored]
    for run, panel in zip(runs, panels, strict=True):
        panel.frame(canvas, run.policy, "")
        for decade, text in ((1, "10 ms"), (2, "100 ms"), (3, "1 s")):
            place = panel.at(0, decade)
            canvas.line([place, panel.at(24, decade)], _FAINT)
            canvas.text((place[0] - 4, place[1] + 4), text, anchor="end")
        for number, one in enumerate(run.scored):
            _ribbon(canvas, panel, one, COLOURS[number % len(COLOURS)])
        limit = math.log10(DEADLINE * 1000)
        canvas.line([panel.at(0, limit), panel.at(24, limit)], _BAD, dashed=True)
    _legend(canvas, panels, names)
    return str(canvas)


def _ribbon(canvas: Canvas, panel: Panel, one: Result, colour: str) -> None:
    told = [(hour + 0.5, pair) for hour, pair in enumerate(one.hours) if pair is not None]
    low = [panel.at(hour, _log(pair[0])) for hour, pair in told]
    high = [panel.at(hour, _log(pair[1])) for hour, pair in told]
    canvas.area([*high, *reversed(low)], colour, opacity=0.25)
    canvas.line(high, colour, width=1.5)


def _log(milliseconds: float) -> float:
    return math.log10(max(milliseconds, 1.0))


def bars(runs: Sequence[Run]) -> str:
    """What became of the requests of each policy: in the deadline, late, lost."""
    wide, tall = 460, 20
    canvas = Canvas(_LEFT + 60 + wide + 30, _TOP + len(runs) * (tall + 10) + 40)
    canvas.text((_LEFT + 40, 20), "requests of the day: in the deadline, late, lost", bold=True)
    for number, run in enumerate(runs):
        y = _TOP + number * (tall + 10)
        total = run.total()
        canvas.text((_LEFT + 34, y + 14), run.policy, anchor="end")
        x = _LEFT + 40.0
        parts = (total.met, total.done - total.met, total.offered - total.done)
        for amount, colour in zip(parts, ("#5a9367", "#d4a017", _BAD), strict=True):
            width = amount / total.offered * wide if total.offered else 0.0
            canvas.box((x, y), (width, tall), colour)
            x += width
        share = total.met / total.offered if total.offered else 0.0
        canvas.text((_LEFT + 48, y + 14), f"{share:.1%}")
    return str(canvas)


def all_of(runs: Sequence[Run]) -> Mapping[str, str]:
    """Every picture of one seed's runs, by file name; those of the day where it was looked at."""
    looked_at = [run for run in runs if run.series]
    made = {"latency.svg": latencies(runs), "requests.svg": bars(runs)} if runs else {}
    if looked_at:
        made["memory.svg"] = day(looked_at, "memory")
        made["cpu.svg"] = day(looked_at, "cpu")
    return made
