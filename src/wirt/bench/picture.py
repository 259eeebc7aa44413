"""Pictures of runs: the day, latencies, what became of requests, and whose memory went to whom."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wirt.bench import alluvial, division
from wirt.bench.outcome import Result, Run
from wirt.bench.policies import Policy, confined
from wirt.bench.svg import COLOURS, FAINT, INK, Canvas, Point
from wirt.bench.workload import DEADLINE, Office

_GOOD, _LATE, _BAD = "#5a9367", "#d4a017", "#c22f2f"
_LEFT, _TOP, _GAP = 66, 72, 36
_MEMORY_KEY = (
    "full: held · pale: might have held · hatched red: needed and not to be had · "
    "dashed: needed by all · line: the host"
)
_CPU_KEY = (
    "full: used · hatched red: asked for and not got · dashed: asked for by all · line: the host"
)


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

    def frame(self, canvas: Canvas, title: str, unit: str, *, mark: float = 0.0) -> None:
        """Title, hours, and the value ``mark`` in its unit, where there is one."""
        canvas.text((self.x, self.y - 6), title, bold=True)
        for hour in range(0, 25, 6):
            canvas.line([self.at(hour, 0), self.at(hour, self.most)], FAINT)
            place = self.at(hour, 0)
            canvas.text((place[0], place[1] + 13), f"{hour}:00", anchor="middle")
        if unit:
            for part, words in ((0.5, ""), (1.0, f" {unit}")):
                place = self.at(0, mark * part)
                canvas.text((place[0] - 4, place[1] + 4), f"{mark * part:g}{words}", anchor="end")
        canvas.line([self.at(0, 0), self.at(24, 0)], INK)


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
    canvas.legend((_LEFT, y), zip(names, itertools.cycle(COLOURS), strict=False), step=90)


def day(runs: Sequence[Run], resource: str) -> str:
    """One small picture a policy, all with the same axes: what each guest was allowed (pale) and
    used (full), what it lacked (hatched), and what all of them together needed (dashed).
    ``resource``: ``memory`` (MiB) or ``cpu`` (cores)."""
    plan = division.plan_of(runs[0])
    in_memory = resource == "memory"
    host = plan.pool.memory / division.MIB if in_memory else plan.pool.cpus
    stacks = [_Stack(run, division.memory(run) if in_memory else division.cpu(run)) for run in runs]
    held_to_it = [stack.top for stack in stacks if confined(Policy(stack.policy))]
    most = max(host * 1.3, *(top * 1.04 for top in held_to_it))
    panels = _panels(len(runs), across=2, most=most, size=(360, 150))
    canvas = _canvas(panels)
    title = "memory of the guests" if in_memory else "processor time of the guests"
    _head(canvas, f"{title}, under each policy", _MEMORY_KEY if in_memory else _CPU_KEY)
    unit = "MiB" if in_memory else "core" if host == 1 else "cores"
    for run, stack, panel in zip(runs, stacks, panels, strict=True):
        above = " (goes on above)" if stack.top > most else ""
        panel.frame(canvas, run.policy + above, unit, mark=host)
        stack.draw(canvas, panel)
        canvas.line([panel.at(0, host), panel.at(24, host)], INK, width=1.5)
        canvas.line(_needs(panel, plan, memory=in_memory), INK, dashed=True)
    _legend(canvas, panels, [one.name for one in plan.services])
    return str(canvas)


def _head(canvas: Canvas, title: str, key: str) -> None:
    canvas.text((_LEFT, 20), title, bold=True)
    canvas.text((_LEFT, 36), key)


def _needs(panel: Panel, plan: Office, *, memory: bool) -> list[Point]:
    def need(hour: float) -> float:
        if memory:
            return sum(division.needed(one, hour, plan) for one in plan.services)
        return sum(division.asked(one, hour) for one in plan.services)

    return [panel.at(step / 10, need(step / 10)) for step in range(241)]


class _Stack:
    """Areas on top of each other, in the order of the services; above them what was lacked."""

    def __init__(self, run: Run, parts: division.Parts) -> None:
        self.policy = run.policy
        self._hours = division.hours(run)
        self._parts = parts
        steps = range(len(self._hours))
        self.top = max(
            (sum(r[n].due + r[n].lacked for r in parts.values()) for n in steps), default=0.0
        )
        """The highest point."""

    def draw(self, canvas: Canvas, panel: Panel) -> None:
        """Into a panel."""
        base = [0.0] * len(self._hours)
        for number, row in enumerate(self._parts.values()):
            colour = COLOURS[number % len(COLOURS)]
            used = [b + part.used for b, part in zip(base, row, strict=False)]
            due = [b + part.due for b, part in zip(base, row, strict=False)]
            if due != used:
                canvas.area(self._between(panel, used, due), colour, opacity=0.3)
            canvas.area(self._between(panel, base, used), colour, opacity=0.9)
            base = due
        lacked = [sum(row[n].lacked for row in self._parts.values()) for n in range(len(base))]
        for first, last in _stretches(lacked):
            low = [panel.at(self._hours[n], base[n]) for n in range(first, last)]
            high = [panel.at(self._hours[n], base[n] + lacked[n]) for n in range(first, last)]
            canvas.hatch([*high, *reversed(low)])

    def _between(self, panel: Panel, low: Sequence[float], high: Sequence[float]) -> list[Point]:
        top = [panel.at(hour, value) for hour, value in zip(self._hours, high, strict=True)]
        foot = [panel.at(hour, value) for hour, value in zip(self._hours, low, strict=True)]
        return [*top, *reversed(foot)]


def _stretches(values: Sequence[float]) -> list[tuple[int, int]]:
    """From where to where (not included) there is something, with the step beside it."""
    made: list[tuple[int, int]] = []
    for step, value in enumerate(values):
        if value <= 0:
            continue
        if made and made[-1][1] >= step:
            made[-1] = (made[-1][0], min(step + 2, len(values)))
        else:
            made.append((max(step - 1, 0), min(step + 2, len(values))))
    return made


def latencies(runs: Sequence[Run]) -> str:
    """One small picture a policy: the p50 to p99 of each service and office hour, on a logarithmic
    scale from 1 ms to 10 s, with the deadline."""
    panels = _panels(len(runs), across=2, most=4.0, size=(360, 150))
    canvas = _canvas(panels)
    key = "line: p99 · pale: from p50 to p99 · dashed red: the deadline · logarithmic"
    _head(canvas, "latency of the requests of each hour, under each policy", key)
    names = [one.name for one in runs[0].scored]
    for run, panel in zip(runs, panels, strict=True):
        panel.frame(canvas, run.policy, "")
        for decade, text in ((1, "10 ms"), (2, "100 ms"), (3, "1 s")):
            place = panel.at(0, decade)
            canvas.line([place, panel.at(24, decade)], FAINT)
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
    wide, tall, top = 460, 20, 54
    canvas = Canvas(_LEFT + 60 + wide + 50, top + len(runs) * (tall + 10) + 10)
    canvas.text((_LEFT + 40, 20), "what became of the requests of the day", bold=True)
    key = (("in the deadline", _GOOD), ("late", _LATE), ("lost", _BAD))
    canvas.legend((_LEFT + 40, 40), key, step=120)
    for number, run in enumerate(runs):
        y = top + number * (tall + 10)
        total = run.total()
        canvas.text((_LEFT + 34, y + 14), run.policy, anchor="end")
        x = _LEFT + 40.0
        parts = (total.met, total.done - total.met, total.offered - total.done)
        for amount, colour in zip(parts, (_GOOD, _LATE, _BAD), strict=True):
            width = amount / total.offered * wide if total.offered else 0.0
            canvas.box((x, y), (width, tall), colour)
            x += width
        share = total.met / total.offered if total.offered else 0.0
        canvas.text((_LEFT + 48 + wide, y + 14), f"{share:.1%}")
    return str(canvas)


def all_of(runs: Sequence[Run]) -> Mapping[str, str]:
    """Every picture of one seed's runs, by file name; those of the day where it was looked at."""
    looked_at = [run for run in runs if run.series]
    made = {"latency.svg": latencies(runs), "requests.svg": bars(runs)} if runs else {}
    if looked_at:
        made["memory.svg"] = day(looked_at, "memory")
        made["cpu.svg"] = day(looked_at, "cpu")
        governed = [run for run in looked_at if Policy(run.policy) is Policy.GOVERNOR]
        if governed and (ledger := alluvial.picture(governed[0])):
            made["ledger.svg"] = ledger
    return made
