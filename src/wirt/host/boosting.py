"""Boosts and the calendar: asked for, listed, ended; and counted in for the governor."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from wirt.errors import Exhausted, Invalid, NotFound
from wirt.governor.admission import Host, shortage
from wirt.governor.tree import MOST_SHARES, Group, Resource
from wirt.host.admit import Admit
from wirt.host.claims import told_apart
from wirt.host.events import Bus
from wirt.host.governing import when
from wirt.host.governing.boosts import boosted, of_calendar
from wirt.host.groups import Groups
from wirt.host.roster import Roster
from wirt.model.boost import MOST_TIMES, Boost, Entry, Gain
from wirt.state.boosts import BoostTable

LONGEST = 31 * 86_400 * 10**9
"""Nanoseconds that a boost may last."""
MOST_ENTRIES = 1000
SECOND = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A boost for people. ``name``: of the guest, or path of the group. ``refused``: bytes of the
    reservation that cannot be promised now."""

    target: str
    name: str
    group: bool
    gain: Gain
    since: int
    until: int
    entry: str = ""
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A calendar entry for people. ``next``: Unix nanoseconds of its next beginning; ``now``:
    it is in force; ``known``: there is such a guest or group."""

    id: str
    name: str
    group: bool
    gain: Gain
    when: str
    next: int
    now: bool
    known: bool


class Boosting:
    """The verbs. ``on_change`` is called when what is in force may be another."""

    def __init__(
        self, *, table: BoostTable, roster: Roster, groups: Groups, admit: Admit, bus: Bus
    ) -> None:
        self._table = table
        self._roster = roster
        self._groups = groups
        self._admit = admit
        self._bus = bus
        self._boosts: dict[tuple[bool, str], Boost] = {}
        self._entries: dict[str, Entry] = {}
        self._made: tuple[Group, tuple[Boost, ...], Host, Group] | None = None
        self._listed: tuple[int, tuple[Boost, ...]] = (-1, ())
        self.on_change: Callable[[], None] = _nobody_cares

    async def open(self) -> None:
        """Read everything from the database; what is over is forgotten."""
        await self._table.expire(time.time_ns())
        boosts, entries = await self._table.all()
        self._boosts = {(one.group, one.target): one for one in boosts}
        self._entries = {entry.id: entry for entry in entries}

    # --- for the governor

    def active(self, now: int) -> tuple[Boost, ...]:
        """What is in force at ``now`` (Unix nanoseconds); looked up anew once a second."""
        if self._listed[0] != now // SECOND:
            found = [
                one
                for one in self._boosts.values()
                if one.since <= now < one.until and self._is_there(one)
            ]
            found += of_calendar(self._entries.values(), now, self._id_of)
            self._listed = (now // SECOND, tuple(found))
        return self._listed[1]

    def apply(self, root: Group, now: int) -> Group:
        """The tree with boosts counted in: the very same one as long as nothing changes."""
        boosts = self.active(now)
        if not boosts:
            return root
        host = self._admit.host()
        made = self._made
        if made is not None and made[0] is root and made[1] == boosts and made[2] == host:
            return made[3]
        found = boosted(root, boosts, now, host)
        self._made = (root, boosts, host, found)
        return found

    # --- boosts

    async def boost(self, target: str, gain: Gain, *, seconds: float, group: bool) -> Standing:
        """Boost a guest, by name or id, or a group from now on, instead of an earlier boost.

        Raises NotFound, Invalid, and Exhausted (``governor.promise``) with the figures when the
        reservation cannot be raised now.
        """
        check(gain)
        length = round(seconds * SECOND) if 0 < seconds < LONGEST else 0
        if not SECOND <= length <= LONGEST:
            raise Invalid(
                f"a boost for {seconds:g} seconds is out of range",
                hint="write a second to 31 days, as --for 2h",
            )
        key = self._groups.find(target).path if group else self._roster.find(target).id
        now = time.time_ns()
        made = Boost(target=key, gain=gain, since=now, until=now + length, group=group)
        self._judge(made, now)
        await self._table.put(made)
        await self._table.expire(now)
        self._boosts = {k: one for k, one in self._boosts.items() if one.until > now}
        self._boosts[group, key] = made
        self._changed("boost", made)
        return self._standing(made, now)

    async def cancel(self, target: str, *, group: bool) -> None:
        """End a boost that was asked for. Raises NotFound when there is none."""
        key = target if group else self._key(target)
        found = self._boosts.pop((group, key), None)
        if found is None or found.until <= time.time_ns():
            raise NotFound(
                f"{target[:80]} is not boosted",
                hint="'wirt boost --list' shows boosts, 'wirt calendar ls' those that come again",
                code="boost.not-found",
            )
        await self._table.remove(key, group=group)
        self._changed("unboost", found)

    def standing(self) -> list[Standing]:
        """What is in force, that of the calendar too."""
        now = time.time_ns()
        return [self._standing(one, now) for one in self.active(now) if one.until > now]

    # --- the calendar

    async def add(self, text: str, name: str, gain: Gain, *, group: bool) -> Plan:
        """A new entry of the calendar. Raises Invalid, NotFound."""
        check(gain)
        days, begin, end = when.parse(text)
        named = self._groups.find(name).path if group else self._roster.find(name).name
        if len(self._entries) >= MOST_ENTRIES:
            raise Exhausted(
                f"the calendar has {MOST_ENTRIES} entries already",
                hint="'wirt calendar rm' removes some",
            )
        entry = Entry(
            id=secrets.token_hex(6), name=named, gain=gain, days=days, begin=begin, end=end,
            group=group,
        )  # fmt: skip
        await self._table.add(entry)
        self._entries[entry.id] = entry
        self._listed = (-1, ())
        self.on_change()
        return self._plan(entry)

    async def strike(self, entry_id: str) -> None:
        """Remove an entry, by its id or the beginning of it. Raises NotFound."""
        found = [key for key in self._entries if entry_id and key.startswith(entry_id)]
        if len(found) != 1:
            raise NotFound(
                f"no such entry in the calendar: {entry_id[:80]}",
                hint="'wirt calendar ls' shows all entries with their ids",
                code="calendar.not-found",
            )
        await self._table.strike(found[0])
        del self._entries[found[0]]
        self._listed = (-1, ())
        self.on_change()

    def plans(self) -> list[Plan]:
        """All entries."""
        return [self._plan(entry) for entry in self._entries.values()]

    # ---

    def _judge(self, boost: Boost, now: int) -> None:
        if not boost.gain.reserve:
            return
        before = boosted(self._admit.tree(), self.active(now), now, self._admit.host())
        only = replace(boost, gain=Gain(reserve=boost.gain.reserve))
        found = shortage(_with(before, only, now), self._admit.host())
        if found is None or shortage(before, self._admit.host()) is not None:
            return
        free = max(boost.gain.reserve - max(found.needed - found.free, 0), 0)
        wanted, there_is = told_apart(Resource.MEMORY, boost.gain.reserve, free)
        raise Exhausted(
            f"{wanted} of memory more cannot be guaranteed: {there_is} are unpromised",
            hint="boost the shares only (leave out the +...), or lower another guest's reservation",
            code="governor.promise",
        )

    def _standing(self, boost: Boost, now: int) -> Standing:
        name = boost.target if boost.group else self._name_of(boost.target)
        refused = 0
        if boost.gain.reserve:
            host, tree = self._admit.host(), self._admit.tree()
            only = replace(boost, gain=Gain(reserve=boost.gain.reserve))
            refused = boost.gain.reserve if boosted(tree, [only], now, host) is tree else 0
        return Standing(
            target=boost.target, name=name, group=boost.group, gain=boost.gain, since=boost.since,
            until=boost.until, entry=boost.entry, refused=refused,
        )  # fmt: skip

    def _plan(self, entry: Entry) -> Plan:
        now = time.time_ns()
        coming = [span[0] for span in when.spans(entry, now) if span[0] > now]
        known = (
            self._groups.get(entry.name) is not None
            if entry.group
            else self._id_of(entry.name) is not None
        )
        return Plan(
            id=entry.id, name=entry.name, group=entry.group, gain=entry.gain,
            when=when.told(entry), next=min(coming, default=0),
            now=when.span_at(entry, now) is not None, known=known,
        )  # fmt: skip

    def _changed(self, action: str, boost: Boost) -> None:
        kind = "group" if boost.group else "guest"
        name = boost.target if boost.group else self._name_of(boost.target)
        self._bus.publish(kind, action, boost.target, name=name)
        self._listed = (-1, ())
        self.on_change()

    def _is_there(self, boost: Boost) -> bool:
        """Whether there is somebody to boost: guests and groups are removed without asking us."""
        if boost.group:
            return self._groups.get(boost.target) is not None
        with contextlib.suppress(NotFound):
            return bool(self._roster.get(boost.target))
        return False

    def _id_of(self, name: str) -> str | None:
        return next((guest.id for guest in self._roster.all() if guest.name == name), None)

    def _name_of(self, guest_id: str) -> str:
        try:
            return self._roster.get(guest_id).name
        except NotFound:
            return guest_id[:12]

    def _key(self, target: str) -> str:
        """The guest's id, also of one that has gone since."""
        if (False, target) in self._boosts:
            return target
        return self._roster.find(target).id


def check(gain: Gain) -> None:
    """Raise Invalid for a gain that makes no sense."""
    for what, factor in (("cpu", gain.cpu), ("memory", gain.memory)):
        if not 1000 <= factor <= MOST_TIMES * 1000:
            raise Invalid(
                f"{factor / 1000:g} times the {what} shares is out of range",
                hint=f"write 1x to {MOST_TIMES}x; there are at most {MOST_SHARES} shares",
                code="governor.out-of-range",
            )
    if not 0 <= gain.reserve <= 2**60:
        raise Invalid(
            f"a reservation of {gain.reserve} bytes more is out of range",
            hint="write it as +2G",
            code="governor.out-of-range",
        )
    if gain == Gain():
        raise Invalid("a boost of nothing", hint="write --cpu 4x, --memory 4x or --memory +2G")


def _with(root: Group, boost: Boost, now: int) -> Group:
    """The reservation raised, whether or not it can be promised."""
    return boosted(root, [boost], now, Host(capacity={}, reserve={}))


def _nobody_cares() -> None:
    """Until the loop is there."""
