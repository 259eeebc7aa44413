"""Runs as text: a table for the terminal, a page for the documentation, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wirt.bench import ledger
from wirt.bench.outcome import Run, as_json, from_json
from wirt.bench.policies import ALL
from wirt.bench.score import Score, Spread, by_seed, scores, spread
from wirt.bench.targets import COLUMNS, TARGETED, TARGETS, of_column, reached
from wirt.errors import Invalid

VERSION = 1
_Figure = Callable[[Score], float | None]
_COLUMNS: tuple[tuple[str, _Figure, str], ...] = (
    ("done", lambda s: s.done * 100, "%"),
    ("in deadline", lambda s: s.met * 100, "%"),
    ("at peak", lambda s: s.met_peak * 100, "%"),
    ("p99 at peak", lambda s: s.p99_peak, " ms"),
    ("OR", lambda s: s.oracle, ""),
    ("SG", lambda s: s.static, ""),
    ("SGp", lambda s: s.static_peak, ""),
    ("LR", lambda s: s.latency, ""),
    ("F", lambda s: s.fairness, ""),
    ("K", lambda s: float(s.kills), ""),
)


def document(runs: Sequence[Run]) -> str:
    """All of it, so that others can draw their own conclusions."""
    told = {"version": VERSION, "machine": machine(), "runs": [as_json(run) for run in runs]}
    return json.dumps(told, separators=(",", ":")) + "\n"


def load(text: str, name: str) -> list[Run]:
    """The runs of a document. Raises Invalid for another file."""
    try:
        told: dict[str, Any] = json.loads(text)
        if told["version"] != VERSION:
            raise ValueError(told["version"])
        return [from_json(one) for one in told["runs"]]
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(
            f"{name} holds no results of officeday", hint="name another file, or remove it"
        ) from error


def merge(old: Iterable[Run], new: Iterable[Run]) -> list[Run]:
    """Valid runs, later ones in the place of earlier ones with the same key; the series of pictures
    are kept for the smallest seed of each column only."""
    found = {run.key: run for run in (*old, *new) if not run.invalid}
    first: dict[tuple[str, str], int] = {}
    for run in found.values():
        column = (run.variant, run.guests)
        first[column] = min(first.get(column, run.seed), run.seed)
    return [
        run if run.seed == first[run.variant, run.guests] else replace(run, series={})
        for _, run in sorted(found.items())
    ]


def machine() -> dict[str, str]:
    """What figures were taken on, as far as it matters for reading them."""
    memory = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "kernel": platform.release(),
        "processors": str(os.cpu_count()),
        "memory": f"{memory / 1024**2:.0f} GiB",
    }


def rows(runs: Sequence[Run]) -> list[list[str]]:
    """A line of figures for each policy of one variant and kind, the header first."""
    made = [["policy", *(name for name, _, _ in _COLUMNS)]]
    for policy in ALL:
        found = scores(runs, policy)
        if found:
            cells = [_cell(spread(figure(s) for s in found), unit) for _, figure, unit in _COLUMNS]
            made.append([policy.value, *cells])
    return made


def _cell(value: Spread | None, unit: str) -> str:
    if value is None:
        return ""
    median, least, most = (_short(number) for number in (value.median, value.least, value.most))
    return f"{median}{unit}" if least == most else f"{median}{unit} ({least}-{most})"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(runs: Sequence[Run]) -> str:
    """The figures for a terminal."""
    lines = rows(runs)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    """A table; the first line is its head."""
    head, *rest = lines
    made = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return [*made, *("| " + " | ".join(line) + " |" for line in rest)]


def page(runs: Sequence[Run], facts: Mapping[str, str], pictures: str) -> str:
    """The reference page. ``pictures``: the directory beside it."""
    lines = [
        "# Officeday: what sharing gains",
        "",
        "Written by `bench/officeday.py`. Medians over the seeds, the range in brackets. What the",
        "[figures](officeday-figures.md) mean, and [how to take them](../howto/run-officeday.md).",
        "",
        f"Linux {facts['kernel']}, {facts['processors']} processors, {facts['memory']}.",
        "",
        "## Targets",
        "",
        *markdown(_targets(runs)),
        "",
        "A cell says what was reached and, in brackets, what has to be; **bold** where it is not.",
    ]
    for column in COLUMNS:
        found = of_column(runs, column)
        if by_seed(found):
            lines += ["", *_column(column, found, pictures)]
    return "\n".join([*lines, ""])


def _targets(runs: Sequence[Run]) -> list[list[str]]:
    made = [["governor", *TARGETED]]
    for target in TARGETS:
        cells = []
        for column in TARGETED:
            value = reached(target, of_column(runs, column))
            bound = target.bound(column)
            sign = "≥" if target.least else "≤"
            aim = "" if bound is None else f" ({sign} {bound:g})"
            told = "-" if value is None else _short(value.median)
            missed = value is not None and target.reached(column, value.median) is False
            cells.append(f"**{told}**{aim}" if missed else f"{told}{aim}")
        made.append([target.title, *cells])
    return made


def _column(column: str, runs: Sequence[Run], pictures: str) -> list[str]:
    seeds = ", ".join(str(seed) for seed in by_seed(runs))
    sample = runs[0]
    emulated = " The machines were emulated." if any(run.emulated for run in runs) else ""
    first = [run for run in runs if run.seed == min(by_seed(runs))]
    names = ["memory", "cpu", "latency", "requests"]
    names += ["ledger"] if any(map(ledger.stages, first)) else []
    return [
        f"## {column}",
        "",
        f"Seeds {seeds}; the day takes {sample.seconds} s.{emulated}",
        "",
        *markdown(rows(runs)),
        "",
        *(f"![{column}: {name}]({pictures}/{column}-{name}.svg)" for name in names),
    ]
