"""``Mon-Fri 07:45-09:30``: times that come again, in local time, whatever the clocks are set to.

An entry begins and ends once on each of its days. What begins in the hour that is left out in
spring begins an hour later by the clock; what begins in the hour that comes twice in autumn begins
in the first of them. The same holds for points in time as ``Mon-Fri 07:45``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache

from wirt.errors import Invalid
from wirt.model.boost import Entry

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WORDS = {"daily": tuple(range(7)), "weekdays": tuple(range(5)), "weekend": (5, 6)}
_CLOCK = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])", re.ASCII)
HINT = "write days and a span in local time, as 'Mon-Fri 07:45-09:30' or 'Sat,Sun 22:00-02:00'"


def parse(text: str) -> tuple[tuple[int, ...], int, int]:
    """Days (0 is Monday), first and last minute of the day. Raises Invalid."""
    words = text.split()
    if len(words) == 1:
        words = ["daily", *words]
    if len(words) != 2 or len(text) > 200:
        raise _invalid(text)
    begin, dash, end = words[1].partition("-")
    if not dash:
        raise _invalid(text)
    first, last = _minute(begin, text), _minute(end, text)
    if first == last or first == 1440:
        raise _invalid(text)
    return _days(words[0].lower(), text), first, last


@lru_cache(maxsize=1024)
def point(text: str) -> tuple[tuple[int, ...], int]:
    """Days (0 is Monday) and minute of the day of ``Mon-Fri 07:45``. Raises Invalid."""
    words = text.split()
    if len(words) == 1:
        words = ["daily", *words]
    try:
        if len(words) != 2 or len(text) > 200 or (minute := _minute(words[1], text)) == 1440:
            raise _invalid(text)
        return _days(words[0].lower(), text), minute
    except Invalid as error:
        raise Invalid(
            f"invalid time to wake a guest {text[:80]!r}",
            hint="write days and a time in local time, as 'Mon-Fri 07:45' or 'daily 06:00'",
            code="idle.wake-at",
        ) from error


def next_point(text: str, since: int, zone: tzinfo | None = None) -> int:
    """When (Unix nanoseconds) the time of a :func:`point` comes for the first time after ``since``.

    ``zone``: None for this host's.
    """
    days, minute = point(text)
    day = datetime.fromtimestamp(since // 10**9, zone).date()
    while day.weekday() not in days or (at := _moment(day, minute, zone)) <= since:
        day += timedelta(days=1)
    return at


def told(entry: Entry) -> str:
    """The same for people."""
    names = [name.capitalize() for name in DAYS]
    days = entry.days
    if days == tuple(range(7)):
        shown = "daily"
    elif len(days) > 2 and days == tuple(range(days[0], days[-1] + 1)):
        shown = f"{names[days[0]]}-{names[days[-1]]}"
    else:
        shown = ",".join(names[day] for day in days)
    return f"{shown} {_clock(entry.begin)}-{_clock(entry.end)}"


def spans(entry: Entry, now: int, zone: tzinfo | None = None) -> Iterator[tuple[int, int]]:
    """Spans (Unix nanoseconds) that began yesterday or begin within nine days, in order.

    ``zone``: None for this host's.
    """
    today = datetime.fromtimestamp(now // 10**9, zone).date()
    for offset in range(-1, 9):
        day = today + timedelta(days=offset)
        if day.weekday() not in entry.days:
            continue
        over = entry.end <= entry.begin
        ending = day + timedelta(days=1) if over else day
        yield _moment(day, entry.begin, zone), _moment(ending, entry.end, zone)


def span_at(entry: Entry, now: int, zone: tzinfo | None = None) -> tuple[int, int] | None:
    """The span that ``now`` (Unix nanoseconds) is in, or None."""
    return next((s for s in spans(entry, now, zone) if s[0] <= now < s[1]), None)


def _moment(day: date, minute: int, zone: tzinfo | None) -> int:
    midnight = datetime(day.year, day.month, day.day) + timedelta(days=minute // 1440)
    local = midnight + timedelta(minutes=minute % 1440)
    return int(local.replace(tzinfo=zone).timestamp()) * 10**9


def _minute(text: str, whole: str) -> int:
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise _invalid(whole)
    minute = int(match[1]) * 60 + int(match[2])
    if minute > 1440:
        raise _invalid(whole)
    return minute


def _days(text: str, whole: str) -> tuple[int, ...]:
    if text in _WORDS:
        return _WORDS[text]
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise _invalid(whole)
        begin = DAYS.index(first)
        end = DAYS.index(last) if dash else begin
        days.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return tuple(sorted(days))


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _invalid(text: str) -> Invalid:
    return Invalid(f"invalid time of a calendar {text[:80]!r}", hint=HINT, code="governor.calendar")
