"""Boosts in the tree of claims, and the calendar through the changes of clocks."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.errors import Invalid
from wirt.governor.admission import Host, shortage
from wirt.governor.tree import FREE, Claim, Group, Member, Resource
from wirt.host.governing import when
from wirt.host.governing.boosts import boosted, of_calendar
from wirt.model.boost import Boost, Entry, Gain

MIB = 1 << 20
BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600 * 10**9


def _root(*members: Member) -> Group:
    return Group(name="", children=(Group(name="it", expandable=True, children=members),))


def _memory(reservation: int, limit: int = 1024 * MIB) -> dict[Resource, Claim]:
    return {Resource.MEMORY: Claim(reservation=reservation, limit=limit)}


ROOT = _root(Member(name="a", claims=_memory(100 * MIB)), Member(name="b"))
HOST = Host(capacity={Resource.MEMORY: 300 * MIB}, reserve={})


def boost(target: str = "a", *, group: bool = False, **gain: int) -> Boost:
    return Boost(target=target, gain=Gain(**gain), since=10, until=20, group=group)


def claim(root: Group, name: str, resource: Resource) -> Claim:
    return next(m for m in root.members() if m.name == name).claim(resource)


@pytest.mark.parametrize("now", [0, 9, 20, 21])
def test_outside_of_its_time_nothing_changes(now: int) -> None:
    assert boosted(ROOT, [boost(cpu=8000)], now, HOST) is ROOT


def test_shares_are_multiplied_and_only_those_of_the_target() -> None:
    made = boosted(ROOT, [boost(cpu=8000, memory=1500)], 10, HOST)
    assert claim(made, "a", Resource.CPU).shares == 8000
    assert claim(made, "a", Resource.MEMORY).shares == 1500
    assert claim(made, "a", Resource.MEMORY).reservation == 100 * MIB
    assert claim(made, "b", Resource.CPU) is FREE


def test_shares_have_an_end_and_the_largest_factor_counts() -> None:
    made = boosted(ROOT, [boost(cpu=20_000), boost(cpu=3000)], 10)
    assert claim(made, "a", Resource.CPU).shares == 10_000


def test_a_group_is_boosted_as_one() -> None:
    made = boosted(ROOT, [boost("it", group=True, cpu=2000)], 10)
    (group,) = made.children
    assert group.claim(Resource.CPU).shares == 2000
    assert claim(made, "a", Resource.CPU) is FREE
    assert boosted(ROOT, [boost("it", cpu=2000)], 10) is ROOT


def test_a_reservation_is_raised_where_there_is_room() -> None:
    made = boosted(ROOT, [boost(reserve=150 * MIB)], 10, HOST)
    assert claim(made, "a", Resource.MEMORY).reservation == 250 * MIB
    assert boosted(ROOT, [boost(reserve=250 * MIB)], 10, HOST) is ROOT
    assert boosted(ROOT, [boost(reserve=150 * MIB)], 10) is ROOT


def test_no_reservation_passes_the_limit() -> None:
    root = _root(Member(name="a", claims=_memory(100 * MIB, 128 * MIB)))
    made = boosted(root, [boost(reserve=150 * MIB)], 10, HOST)
    assert claim(made, "a", Resource.MEMORY).reservation == 128 * MIB


@given(
    st.lists(
        st.builds(
            boost, st.sampled_from("abc"), reserve=st.integers(0, 400 * MIB),
            cpu=st.integers(1000, 10**7),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_no_boost_breaks_a_promise(boosts: list[Boost]) -> None:
    made = boosted(ROOT, boosts, 15, HOST)
    assert shortage(made, HOST) is None
    assert claim(made, "b", Resource.MEMORY).reservation >= 0
    assert claim(made, "a", Resource.MEMORY).reservation >= 100 * MIB


def at(text: str, fold: int = 0) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)
    return int(moment.timestamp()) * 10**9


def entry(text: str) -> Entry:
    days, begin, end = when.parse(text)
    return Entry(id="1", name="dc", gain=Gain(cpu=2000), days=days, begin=begin, end=end)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Mon-Fri 07:45-09:30", "Mon-Fri 07:45-09:30"),
        ("weekdays 7:45-9:30", "Mon-Fri 07:45-09:30"),
        ("fri-mon 22:00-02:00", "Mon,Fri,Sat,Sun 22:00-02:00"),
        ("sat,SUN 00:00-24:00", "Sat,Sun 00:00-24:00"),
        ("07:00-08:00", "daily 07:00-08:00"),
        ("weekend 1:00-2:00", "Sat,Sun 01:00-02:00"),
        ("Wed 1:00-2:00", "Wed 01:00-02:00"),
    ],
)
def test_times_of_a_calendar(text: str, shown: str) -> None:
    assert when.told(entry(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "", "Mon", "Mon 07:45", "Mon 07:45-07:45", "Mon 24:00-24:00", "Mon 25:00-26:00",
        "x 1:00-2:00",
        "Mon- 1:00-2:00", "Mon 1:60-2:00", "Mon 24:01-2:00", "Mon 1:00-2:00 x", "Mon 24:00-1:00",
        "Mo\u0661 1:00-2:00", "Mon " + "1" * 300, "1:00-2:00-3:00",
    ],
)  # fmt: skip
def test_no_times(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        when.parse(text)
    assert caught.value.code == "governor.calendar"


def test_a_span_is_in_force_on_its_days() -> None:
    one = entry("Mon-Fri 07:45-09:30")
    assert when.span_at(one, at("2026-03-06T07:44:59"), BERLIN) is None  # a Friday
    assert when.span_at(one, at("2026-03-06T07:45"), BERLIN) == (
        at("2026-03-06T07:45"), at("2026-03-06T09:30"),
    )  # fmt: skip
    assert when.span_at(one, at("2026-03-06T09:30"), BERLIN) is None
    assert when.span_at(one, at("2026-03-07T08:00"), BERLIN) is None


def test_a_span_over_midnight() -> None:
    one = entry("Fri 22:00-02:00")
    assert when.span_at(one, at("2026-03-07T01:59"), BERLIN) is not None
    assert when.span_at(one, at("2026-03-08T01:59"), BERLIN) is None


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-06-07"])
@pytest.mark.parametrize("text", ["Sun 02:15-02:45", "Sun 01:30-03:30", "Sun 07:45-09:30"])
def test_each_day_has_each_span_once_whatever_clocks_do(day: str, text: str) -> None:
    one = entry(text)
    begin = at(f"{day}T00:00")
    minutes = [begin + number * 60 * 10**9 for number in range(27 * 60)]
    inside = [minute for minute in minutes if when.span_at(one, minute, BERLIN)]
    gaps = [b - a for a, b in pairwise(inside) if b - a > 60 * 10**9]
    assert inside
    assert gaps == []
    if text == "Sun 07:45-09:30":
        clock = datetime.fromtimestamp(inside[0] // 10**9, BERLIN)
        assert (clock.hour, clock.minute) == (7, 45)
        assert len(inside) == 105


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-06-07"])
@pytest.mark.parametrize("text", ["Sun 02:30", "07:45", "Sun 00:00", "Sat,Sun 23:59"])
def test_each_day_has_each_point_once_whatever_clocks_do(day: str, text: str) -> None:
    midnight, following = at(f"{day}T00:00"), at(f"{day}T00:00:00") + 27 * 3600 * 10**9
    found = []
    point = when.next_point(text, midnight - 1, BERLIN)
    while point < following:
        found.append(datetime.fromtimestamp(point // 10**9, BERLIN))
        point = when.next_point(text, point, BERLIN)
    today = [one for one in found if one.date().isoformat() == day]
    assert len(today) == 1
    if text == "07:45":
        assert (today[0].hour, today[0].minute) == (7, 45)


def test_a_point_comes_again_a_week_later() -> None:
    one = when.next_point("Wed 07:45", at("2026-03-04T07:44:59"), BERLIN)
    assert one == at("2026-03-04T07:45")
    assert when.next_point("wed 7:45", one, BERLIN) == at("2026-03-11T07:45")


def test_the_calendar_finds_guests_by_name() -> None:
    now = at("2026-03-06T08:00")
    entries = [entry("Fri 07:45-09:30"), entry("Sat 07:45-09:30")]
    (made,) = of_calendar(entries, now, {"dc": "id1"}.get, BERLIN)
    assert (made.target, made.entry, made.until) == ("id1", "1", at("2026-03-06T09:30"))
    assert list(of_calendar(entries, now, {"other": "id1"}.get, BERLIN)) == []
