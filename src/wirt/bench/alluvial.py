"""The ledger as a picture: a bar of memory for each stage of the day, and what flowed between."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from wirt.bench.ledger import NOBODY, Stage, flows, moves, stages
from wirt.bench.outcome import Run
from wirt.bench.svg import COLOURS, Canvas, Point

_LEFT, _TOP, _BAR, _STEP, _HEIGHT = 66, 78, 32, 180, 230
_LINES = 5
"""Moves told below each gap."""
_LEAST = 4.0
"""MiB; smaller moves are drawn and not told."""
_ROUND = 12
"""Points of each edge of a flow."""
_FREE = "#7d828b"


def picture(run: Run) -> str:
    """Empty where there is nothing to tell."""
    found = stages(run)
    if not found:
        return ""
    colours = {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(found[0].held)}
    colours[NOBODY] = _FREE
    gaps = list(itertools.pairwise(found))
    told = [[one for one in moves(*gap) if one.amount >= _LEAST][:_LINES] for gap in gaps]
    foot = _TOP + _HEIGHT + 34 + max(map(len, told)) * 15
    most = max(sum(stage.held.values()) for stage in found)
    width = _LEFT + (len(found) - 1) * _STEP + _BAR + 60
    canvas = Canvas(width, foot + 24)
    canvas.text((_LEFT, 20), "memory under the governor: whose went to whom", bold=True)
    words = "bars: MiB that each might have, means of those hours · bands: what became of it · "
    canvas.text((_LEFT, 36), words + "below: MiB that moved")
    drawing = _Drawing(canvas, colours, most)
    for number, (before, after) in enumerate(gaps):
        drawing.gap(number, before, after)
        for line, one in enumerate(told[number]):
            words = f"{one.source} → {one.target}  {one.amount:.0f}"
            place = (_LEFT + _BAR / 2 + (number + 0.5) * _STEP, _TOP + _HEIGHT + 22 + line * 15)
            canvas.text(place, words, anchor="middle")
    for number, stage in enumerate(found):
        drawing.bar(number, stage)
    canvas.legend((_LEFT, foot + 10), colours.items(), step=90)
    return str(canvas)


class _Drawing:
    def __init__(self, canvas: Canvas, colours: Mapping[str, str], most: float) -> None:
        self._canvas = canvas
        self._colours = colours
        self._scale = _HEIGHT / most

    def bar(self, number: int, stage: Stage) -> None:
        """One stage: a title, its hours, and how much each has."""
        x = _LEFT + number * _STEP
        middle = x + _BAR / 2
        self._canvas.text((middle, _TOP - 20), stage.title, anchor="middle", bold=True)
        span = f"{_clock(stage.begin)} to {_clock(stage.end)}"
        self._canvas.text((middle, _TOP - 6), span, anchor="middle")
        y = float(_TOP)
        for name, amount in stage.held.items():
            height = amount * self._scale
            self._canvas.box((x, y), (_BAR, height), self._colours[name])
            if height >= 11:
                place = (middle, y + height / 2 + 4)
                self._canvas.text(place, f"{amount:.0f}", anchor="middle", light=True)
            y += height

    def gap(self, number: int, before: Stage, after: Stage) -> None:
        """What flowed from one stage to the next."""
        left = _LEFT + number * _STEP + _BAR
        right = left + _STEP - _BAR
        starts, ends = _tops(before, self._scale), _tops(after, self._scale)
        into: dict[str, float] = dict(ends)
        out: dict[str, float] = dict(starts)
        for flow in flows(before, after):
            height = flow.amount * self._scale
            a, b = out[flow.source], into[flow.target]
            out[flow.source], into[flow.target] = a + height, b + height
            upper, lower = (
                _edge((left, a), (right, b)),
                _edge((left, a + height), (right, b + height)),
            )
            opacity = 0.22 if flow.source == flow.target else 0.6
            self._canvas.area([*upper, *lower[::-1]], self._colours[flow.source], opacity=opacity)


def _tops(stage: Stage, scale: float) -> dict[str, float]:
    made, y = {}, float(_TOP)
    for name, amount in stage.held.items():
        made[name] = y
        y += amount * scale
    return made


def _edge(start: Point, end: Point) -> list[Point]:
    """From one bar to the next, level at both."""
    made = []
    for step in range(_ROUND + 1):
        part = step / _ROUND
        ease = part * part * (3 - 2 * part)
        made.append((start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * ease))
    return made


def _clock(hour: float) -> str:
    return f"{int(hour)}:{round(hour % 1 * 60):02}"
