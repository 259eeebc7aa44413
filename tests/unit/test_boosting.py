"""Boosts and the calendar as verbs: asked for, kept through restarts, ended, never breaking a
promise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fakes.clock import tell
from fakes.promises import MIB, Calm, Host
from wirt.errors import Exhausted, Invalid, NotFound
from wirt.governor.admission import shortage
from wirt.governor.tree import Claim, Group, Resource
from wirt.host.boosting import Boosting
from wirt.model.boost import Boost, Entry, Gain
from wirt.state.boosts import BoostTable
from wirt.state.db import Database

Story = Callable[[Host, "Boosts"], Awaitable[None]]


class Boosts:
    """A table in memory that outlives daemons, and the verbs over it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.kept: dict[tuple[str, bool], Boost] = {}
        self.entries: dict[str, Entry] = {}
        self.woken = 0

    async def all(self) -> tuple[list[Boost], list[Entry]]:
        return list(self.kept.values()), list(self.entries.values())

    async def put(self, boost: Boost) -> None:
        self.kept[boost.target, boost.group] = boost

    async def remove(self, target: str, *, group: bool) -> None:
        self.kept.pop((target, group), None)

    async def expire(self, now: int) -> None:
        self.kept = {key: one for key, one in self.kept.items() if one.until > now}

    async def add(self, entry: Entry) -> None:
        self.entries[entry.id] = entry

    async def strike(self, entry_id: str) -> None:
        self.entries.pop(entry_id)

    def _wake(self) -> None:
        self.woken += 1

    async def verbs(self) -> Boosting:
        """As a daemon begins with them."""
        d = self._host.daemon
        made = Boosting(
            table=cast(Any, self), roster=d.roster, groups=d.groups, admit=d.admit, bus=d.bus
        )
        made.on_change = self._wake
        await made.open()
        return made


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def whole() -> None:
            host = Host(tmp_path, monkeypatch, Calm())
            await host.daemon.begin()
            await story(host, Boosts(host))

        tell(whole())

    return run


def claim(root: Group, guest_id: str, resource: Resource) -> Claim:
    return next(m for m in root.members() if m.name == guest_id).claim(resource)


Play = Callable[[Story], None]


def test_a_boost_counts_until_it_ends_or_is_ended(play: Play) -> None:
    async def story(h: Host, boosts: Boosts) -> None:
        guest = await h.run("dc", memory=100)
        verbs = await boosts.verbs()
        tree = h.daemon.admit.tree()
        assert verbs.apply(tree, time.time_ns()) is tree
        made = await verbs.boost("dc", Gain(cpu=8000, reserve=200 * MIB), seconds=60, group=False)
        assert (made.name, made.target, made.refused) == ("dc", guest.id, 0)
        now = time.time_ns()
        found = verbs.apply(tree, now)
        assert claim(found, guest.id, Resource.CPU).shares == 8000
        assert claim(found, guest.id, Resource.MEMORY).reservation == 300 * MIB
        assert verbs.apply(tree, now) is found  # nothing to weigh anew
        assert verbs.apply(tree, now + 61 * 10**9) is tree  # over by itself
        await verbs.cancel("dc", group=False)
        assert verbs.apply(tree, time.time_ns()) is tree
        assert (verbs.standing(), boosts.kept, boosts.woken) == ([], {}, 2)
        with pytest.raises(NotFound) as caught:
            await verbs.cancel("dc", group=False)
        assert caught.value.code == "boost.not-found"

    play(story)


def test_a_boost_survives_the_daemon(play: Play) -> None:
    async def story(h: Host, boosts: Boosts) -> None:
        guest = await h.run("dc")
        await (await boosts.verbs()).boost("dc", Gain(cpu=2000), seconds=3600, group=False)
        boosts.kept["old", False] = Boost(target="old", gain=Gain(cpu=2000), since=1, until=2)
        verbs = await boosts.verbs()
        assert [one.target for one in verbs.standing()] == [guest.id]
        assert list(boosts.kept) == [(guest.id, False)]

    play(story)


def test_whoever_is_removed_is_boosted_no_more(play: Play) -> None:
    async def story(h: Host, boosts: Boosts) -> None:
        await h.run("dc")
        await (await boosts.verbs()).boost("dc", Gain(cpu=2000), seconds=3600, group=False)
        kept = boosts.kept.popitem()[1]
        boosts.kept["gone", False] = replace(kept, target="gone")
        boosts.kept["sales", True] = replace(kept, target="sales", group=True)
        assert (await boosts.verbs()).standing() == []

    play(story)


def test_nobody_loses_what_was_promised(play: Play) -> None:
    async def story(h: Host, boosts: Boosts) -> None:
        dc = await h.run("dc", memory=100)
        verbs = await boosts.verbs()
        await h.run("mail", memory=300)
        with pytest.raises(Exhausted) as caught:
            await verbs.boost("dc", Gain(reserve=700 * MIB), seconds=60, group=False)
        assert caught.value.code == "governor.promise"
        assert "700MiB" in caught.value.message
        assert "600MiB are unpromised" in caught.value.message
        assert boosts.kept == {}
        await verbs.boost("dc", Gain(cpu=3000, reserve=500 * MIB), seconds=60, group=False)
        await h.run("print", memory=400)  # a later start is judged by promises, not by boosts
        tree = h.daemon.admit.tree()
        found = verbs.apply(tree, time.time_ns())
        assert shortage(found, h.daemon.admit.host()) is None
        assert claim(found, dc.id, Resource.MEMORY).reservation == 100 * MIB
        assert claim(found, dc.id, Resource.CPU).shares == 3000
        assert verbs.standing()[0].refused == 500 * MIB

    play(story)


@pytest.mark.parametrize(
    ("gain", "seconds"),
    [
        (Gain(), 60), (Gain(cpu=999), 60), (Gain(memory=-1), 60), (Gain(reserve=-1), 60),
        (Gain(cpu=10**30), 60), (Gain(reserve=10**30), 60), (Gain(cpu=2000), 0.5),
        (Gain(cpu=2000), -1), (Gain(cpu=2000), float("nan")), (Gain(cpu=2000), float("inf")),
        (Gain(cpu=2000), 1e30),
    ],
)  # fmt: skip
def test_what_is_no_boost(play: Play, gain: Gain, seconds: float) -> None:
    async def story(h: Host, boosts: Boosts) -> None:
        await h.make("dc")
        verbs = await boosts.verbs()
        with pytest.raises(Invalid):
            await verbs.boost("dc", gain, seconds=seconds, group=False)
        assert boosts.kept == {}

    play(story)


def test_groups_are_boosted_and_strangers_are_not(play: Play) -> None:
    async def story(h: Host, boosts: Boosts) -> None:
        await h.group("it")
        await h.run("dc", group="it")
        verbs = await boosts.verbs()
        await verbs.boost("it", Gain(cpu=2000), seconds=60, group=True)
        (group,) = verbs.apply(h.daemon.admit.tree(), time.time_ns()).children
        assert group.claim(Resource.CPU).shares == 2000
        for name, is_group in (("nosuch", False), ("nosuch", True), ("it", False)):
            with pytest.raises(NotFound):
                await verbs.boost(name, Gain(cpu=2000), seconds=60, group=is_group)
        await verbs.cancel("it", group=True)

    play(story)


def test_the_calendar_boosts_whoever_has_the_name(play: Play) -> None:
    async def story(h: Host, boosts: Boosts) -> None:
        guest = await h.run("dc")
        verbs = await boosts.verbs()
        plan = await verbs.add("daily 00:00-24:00", "dc", Gain(cpu=2000), group=False)
        assert (plan.when, plan.now, plan.known) == ("daily 00:00-24:00", True, True)
        assert plan.next > time.time_ns()
        (boost,) = verbs.active(time.time_ns())
        assert (boost.target, boost.entry) == (guest.id, plan.id)
        boosts.entries["0" * 12] = replace(boosts.entries[plan.id], id="0" * 12, name="gone")
        verbs = await boosts.verbs()
        assert {one.name: one.known for one in verbs.plans()} == {"dc": True, "gone": False}
        await verbs.strike(plan.id[:6])
        await verbs.strike("0" * 12)
        assert (verbs.plans(), verbs.active(time.time_ns())) == ([], ())
        for text, name in (("someday", "dc"), ("Mon 07:00-08:00", "nosuch")):
            with pytest.raises((Invalid, NotFound)):
                await verbs.add(text, name, Gain(cpu=2000), group=False)
        for entry in ("", "x", plan.id):
            with pytest.raises(NotFound):
                await verbs.strike(entry)

    play(story)


def test_the_table_keeps_both(tmp_path: Path) -> None:
    boost = Boost(target="a", gain=Gain(cpu=2000), since=1, until=50)
    entry = Entry(id="1", name="dc", gain=Gain(reserve=5), days=(0, 4), begin=465, end=570)

    async def story() -> None:
        db = Database(tmp_path / "b.sqlite")
        await db.open()
        try:
            table = BoostTable(db)
            await table.put(replace(boost, until=40))
            await table.put(boost)
            await table.put(replace(boost, group=True, until=90))
            await table.add(entry)
            assert await table.all() == ([boost, replace(boost, group=True, until=90)], [entry])
            await table.expire(50)
            assert [one.group for one in (await table.all())[0]] == [True]
            await table.remove("a", group=True)
            await table.strike("1")
            assert await table.all() == ([], [])
        finally:
            await db.close()

    asyncio.run(story())
