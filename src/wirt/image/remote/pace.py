"""When to try again, how long to wait for it, and when a server is too slow to be waited for."""

from __future__ import annotations

import email.utils
import random
import time
from dataclasses import dataclass

TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be gone at the next try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds and bytes. ``connect``: to a server. ``head``: for an answer's first line;
    ``commit``: for that of an upload, whose content a registry checks first.

    Of a body at least ``least`` bytes must come in each ``interval``. ``tries``: in a row without
    any progress; between them ``pause`` doubles up to ``longest``, with jitter. A server that asks
    for more than ``retry_after`` is not waited for.
    """

    connect: float = 15.0
    head: float = 60.0
    commit: float = 300.0
    interval: float = 30.0
    least: int = 4096
    tries: int = 5
    pause: float = 0.5
    longest: float = 20.0
    retry_after: float = 120.0

    def wait(self, attempt: int, asked: float | None) -> float:
        """Seconds before the try after ``attempt`` (1 is the first). ``asked``: Retry-After."""
        if asked is not None:
            return asked
        full = min(self.longest, self.pause * 2.0 ** (attempt - 1))
        return full * random.uniform(0.5, 1.0)  # noqa: S311 - so that clients do not come at once


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds that a ``Retry-After`` asks for (RFC 9110 section 10.2.3); None for none."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
    return max(0.0, moment - (time.time() if now is None else now))
