#!/usr/bin/env python3
"""Draw stations of a real run as SVG.

    make demo | tools/picture.py "busybox as" Summary > docs/tour.svg

Arguments: beginnings of the stations' titles to show; without any, everything.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Iterable, Iterator, Sequence

WIDTH, LINE, LEFT, TOP = 860, 18, 16, 44
COLOURS = {"$": "#8bd5ff", "✓": "#a6e3a1", "─": "#f9e2af"}
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"


def colour(line: str) -> str:
    """By the first sign: a command, a claim that held, a heading, or plain output."""
    return COLOURS.get(line.strip()[:1], "#cdd6f4")


def text(row: str, height: int) -> str:
    """One line of the terminal."""
    return f'<text x="{LEFT}" y="{height}" fill="{colour(row)}">{html.escape(row)}</text>'


def draw(lines: Iterable[str]) -> str:
    """An SVG of a terminal that shows these lines."""
    rows = [line.rstrip() for line in lines]
    height = TOP + LINE * len(rows) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="a run of make demo">',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#1e1e2e"/>',
        *(
            f'<circle cx="{20 + 20 * n}" cy="18" r="6" fill="{fill}"/>'
            for n, fill in enumerate(("#f38ba8", "#f9e2af", "#a6e3a1"))
        ),
        f'<g font-family="{FONT}" font-size="13" xml:space="preserve">',
        *(text(row, TOP + LINE * number) for number, row in enumerate(rows)),
        "</g></svg>",
    ]
    return "\n".join(parts) + "\n"


def stations(lines: Iterable[str], titles: Sequence[str]) -> Iterator[str]:
    """The lines of the stations whose title begins with one of ``titles``."""
    shown = not titles
    for line in lines:
        if titles and line.startswith("── "):
            shown = line[3:].startswith(tuple(titles))
        if shown:
            yield line


if __name__ == "__main__":
    sys.stdout.write(draw(stations(sys.stdin, sys.argv[1:])))
