"""The size of a client's terminal, as the query tells it."""

from __future__ import annotations

from aiohttp import web

from wirt.api.http.body import number
from wirt.host.execute import LARGEST_TERMINAL


def terminal_size(request: web.Request) -> tuple[int, int]:
    """The query's ``rows`` and ``columns``. Raises Invalid."""
    return (
        number(request, "rows", 0, low=0, high=LARGEST_TERMINAL),
        number(request, "columns", 0, low=0, high=LARGEST_TERMINAL),
    )
