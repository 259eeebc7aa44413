"""SVG by hand: a canvas of shapes in reading order, numbers with at most two decimals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

Point = tuple[float, float]
COLOURS = ("#3b6ea5", "#c8553d", "#5a9367", "#8d6a9f", "#d4a017", "#6b6b6b")
"""Told apart without colour vision too: they differ in lightness."""
INK, FAINT = "#222222", "#dddddd"
_THEME = (
    '<defs><pattern id="unmet" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="2.5" height="6" fill="#d23c3c"/></pattern></defs>'
    "<style>text { fill: #222222 } @media (prefers-color-scheme: dark) { "
    ".paper { fill: #16181c } text { fill: #dddddd } .ink { stroke: #dddddd } "
    ".faint { stroke: #3a3d44 } }</style>"
)


class Canvas:
    """Collects shapes; ``str()`` of it is the document. Sizes are pixels.

    Paper, ink and faint lines follow the reader's light or dark theme.
    """

    def __init__(self, width: int, height: int) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif" font-size="11">'
        )
        self._shapes = [
            _THEME,
            f'<rect class="paper" width="{width}" height="{height}" fill="#ffffff"/>',
        ]

    def area(self, points: Sequence[Point], colour: str, *, opacity: float = 1.0) -> None:
        """A filled polygon."""
        if points:
            self._shapes.append(
                f'<polygon points="{_points(points)}" fill="{colour}" opacity="{opacity:g}"/>'
            )

    def hatch(self, points: Sequence[Point]) -> None:
        """A polygon hatched in red."""
        if points:
            self._shapes.append(f'<polygon points="{_points(points)}" fill="url(#unmet)"/>')

    def line(
        self, points: Sequence[Point], colour: str, *, width: float = 1.0, dashed: bool = False
    ) -> None:
        """A line through points."""
        if points:
            dash = ' stroke-dasharray="4 3"' if dashed else ""
            themed = {INK: ' class="ink"', FAINT: ' class="faint"'}.get(colour, "")
            self._shapes.append(
                f'<polyline points="{_points(points)}" fill="none" stroke="{colour}" '
                f'stroke-width="{width:g}"{dash}{themed}/>'
            )

    def box(self, corner: Point, size: Point, colour: str, *, opacity: float = 1.0) -> None:
        """A filled rectangle."""
        self._shapes.append(
            f'<rect x="{_number(corner[0])}" y="{_number(corner[1])}" width="{_number(size[0])}" '
            f'height="{_number(size[1])}" fill="{colour}" opacity="{opacity:g}"/>'
        )

    def legend(self, place: Point, entries: Iterable[tuple[str, str]], *, step: float) -> None:
        """Words, each with a square of its colour before it, in a row, ``step`` apart."""
        for number, (words, colour) in enumerate(entries):
            x = place[0] + number * step
            self.box((x, place[1] - 9), (10, 10), colour)
            self.text((x + 14, place[1]), words)

    def text(
        self,
        place: Point,
        words: str,
        *,
        anchor: str = "start",
        bold: bool = False,
        light: bool = False,
    ) -> None:
        """``anchor``: start, middle or end. ``light``: to be read on a colour, in either theme."""
        weight = ' font-weight="bold"' if bold else ""
        weight += ' style="fill:#ffffff"' if light else ""
        self._shapes.append(
            f'<text x="{_number(place[0])}" y="{_number(place[1])}" '
            f'text-anchor="{anchor}"{weight}>{escape(words)}</text>'
        )

    def __str__(self) -> str:
        return "\n".join([self._head, *self._shapes, "</svg>", ""])


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
