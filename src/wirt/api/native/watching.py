"""The governor's trace, and figures for Prometheus."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from aiohttp import web

from wirt.api.http.body import number
from wirt.api.http.lines import NDJSON, begin
from wirt.api.http.operation import operation
from wirt.errors import Invalid
from wirt.host.governing.chronicle import Chronicle
from wirt.host.governing.metrics import Figures, text

LATEST = 2**63 - 1
LONGEST = 7 * 86_400.0
"""Seconds for which one request may follow."""
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class WatchRoutes:
    """Handlers of both. ``figures``: what is told now."""

    def __init__(self, *, chronicle: Chronicle, figures: Callable[[], Figures]) -> None:
        self._chronicle = chronicle
        self._figures = figures

    def routes(self) -> list[web.RouteDef]:
        """What they answer."""
        return [
            web.get("/v1/governor/trace", self.trace, allow_head=False),
            web.get("/metrics", self.metrics, allow_head=False),
        ]

    @operation(
        "The governor's ticks with guests and claims, as a trace",
        query=("since", "seconds"),
        answer=NDJSON,
    )
    async def trace(self, request: web.Request) -> web.StreamResponse:
        """What is remembered from ``since`` on (Unix nanoseconds), then what happens in the next
        ``seconds``."""
        since = number(request, "since", 0, low=0, high=LATEST)
        seconds = _seconds(request)
        response = await begin(request, NDJSON)
        if seconds:
            try:
                async with asyncio.timeout(seconds):
                    async for line in self._chronicle.follow(since):
                        await response.write(line)
            except TimeoutError:
                pass
        else:
            for line in self._chronicle.trace(since):
                await response.write(line)
        await response.write_eof()
        return response

    @operation("Figures for Prometheus", answer="text/plain")
    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Every figure, in the text format."""
        del request
        return web.Response(
            body=text(self._figures()).encode(), headers={"Content-Type": PROMETHEUS}
        )


def _seconds(request: web.Request) -> float:
    """Raises Invalid for what is no number of seconds."""
    written = request.query.get("seconds") or "0"
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not 0 <= value <= LONGEST:
        raise Invalid(
            f"query parameter seconds={written[:40]!r} is no number from 0 to {LONGEST:g}",
            code="api.query",
        )
    return value
