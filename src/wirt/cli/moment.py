"""Points in time as people type them: ``10m`` ago, RFC 3339, a date, or Unix seconds."""

from __future__ import annotations

import time
from datetime import datetime

from wirt.cli.flags import misuse
from wirt.errors import Invalid
from wirt.model.units import parse_duration

HINT = "write 10m (ago), 2026-01-31T12:00:00Z, 2026-01-31, or Unix seconds"


def parse(text: str, flag: str, *, now: int | None = None) -> int:
    """Unix nanoseconds. Times without a zone are local. Raises Invalid naming the flag."""
    whole, _, fraction = text.partition(".")
    if whole.isascii() and whole.isdigit() and (not fraction or fraction.isdigit()):
        if len(whole) > 11 or len(fraction) > 9:
            raise misuse(f"invalid time {text!r} for --{flag}", hint=HINT)
        return int(whole) * 10**9 + int((fraction + "0" * 9)[:9])
    try:
        return (time.time_ns() if now is None else now) - parse_duration(text)
    except Invalid:
        pass
    try:
        # fromisoformat knows six digits of a second, the daemon writes nine: keep the rest aside
        head, dot, rest = text.partition(".")
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))] if dot else ""
        moment = datetime.fromisoformat(head + rest[len(digits) :])
        if moment.tzinfo is None:
            moment = moment.astimezone()
        return int(moment.timestamp()) * 10**9 + int((digits + "0" * 9)[:9])
    except (ValueError, OverflowError):
        raise misuse(f"invalid time {text!r} for --{flag}", hint=HINT) from None
