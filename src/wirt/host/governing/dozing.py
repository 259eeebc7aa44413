"""Idle guests are paused, and go on as soon as anybody wants something of them.

Who is idle is told by the governor's ticks. The helper hears the traffic of who sleeps and thaws it
by itself (:mod:`wirt.privileged.sleepers`); here is noted who sleeps and why it was woken. What a
user has paused is never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from wirt.aio import Nursery
from wirt.errors import NotFound, WirtError
from wirt.governor.idle import Calm, look
from wirt.governor.journal import Act, Change
from wirt.governor.movement import Reason
from wirt.governor.observe import Tick
from wirt.governor.tree import Resource
from wirt.host.events import Bus
from wirt.host.governing.idling import GLANCE, above, due, may_pause, rule_of
from wirt.host.roster import Roster
from wirt.host.running import Live, Running
from wirt.model.guest import Guest, GuestState, Isolation
from wirt.model.idle import SECOND, IdleAction, IdleDefaults, IdleRule
from wirt.privileged.client import Helper
from wirt.privileged.holds import Woken
from wirt.privileged.protocol import FreezeGuest, WatchTraffic

log = logging.getLogger("wirt.host.governing")

LOOK = 2.0
"""Seconds between two looks whether the governor still acts."""
EMULATED = 5.0
"""A machine that is emulated takes so many times more of a processor for its own clock."""
SETTLE = 0.25
"""Seconds from when its input is listened to until it is frozen: what came just before, it has read
by then."""
_DECODER = msgspec.json.Decoder(Woken)
_HEARD = {"traffic": Reason.TRAFFIC, "input": Reason.INPUT}

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """What others know. ``defaults``: the policy's; ``boosted``: ids of guests and paths of groups
    that are boosted now; ``acts``: whether the governor acts; ``frozen``: whether the kernel has
    frozen a guest."""

    defaults: Callable[[], IdleDefaults]
    boosted: Callable[[], Mapping[str, int]]
    acts: Callable[[], bool]
    frozen: Callable[[str], bool]


class Dozing:
    """Who is idle, who sleeps, who wakes them. ``wake`` may be called by anybody."""

    def __init__(
        self,
        *,
        roster: Roster,
        running: Running,
        helper: Helper,
        bus: Bus,
        nursery: Nursery,
        says: Says,
    ) -> None:
        self._roster = roster
        self._running = running
        self._helper = helper
        self._bus = bus
        self._nursery = nursery
        self._says = says
        self._calm: dict[str, tuple[Live, Calm]] = {}
        self._ends: dict[str, int] = {}
        self._moving: set[str] = set()
        self._changes: list[Change] = []

    # --- the governor's ticks

    def note(self, tick: Tick) -> None:
        """Who is idle for long enough falls asleep, whose time has come wakes."""
        self._calm = {key: kept for key, kept in self._calm.items() if key in tick.guests}
        boosted = self._says.boosted() if tick.guests else {}
        for guest_id in tick.guests:
            with contextlib.suppress(NotFound):  # just removed
                guest = self._roster.get(guest_id)
                live = self._running.get(guest_id)
                if live is not None and guest_id not in self._moving:
                    self._judge(guest, live, tick, _is_boosted(guest, boosted))

    def _judge(self, guest: Guest, live: Live, tick: Tick, boosted: bool) -> None:
        rule = rule_of(guest.spec, self._says.defaults())
        if guest.status.asleep:
            if guest.status.idle_since > time.time_ns():
                self._start(guest.id, partial(self._set_back, guest.id))
                return
            why = _due(guest, rule, boosted)
            if why is not None:
                self._start(guest.id, partial(self.wake, guest.id, why))
            elif guest.id not in self._ends:
                self._start(guest.id, partial(self._take_up, guest.id))
            return
        if guest.status.state is not GuestState.RUNNING:
            self._calm.pop(guest.id, None)
            return
        was = self._calm.get(guest.id)
        calm = Calm() if was is None or was[0] is not live else was[1]
        machine = guest.spec.isolation is not Isolation.CONTAINER
        seen = tick.guests[guest.id]
        if guest.endpoints and seen.net_in is None:
            seen = replace(seen, cpu=None)  # its traffic is not known
        calm = look(calm, seen, tick.seconds, emulated=EMULATED if machine else 1.0)
        if boosted or self._busy(guest.id):
            calm = replace(calm, seconds=0.0)
        self._calm[guest.id] = (live, calm)
        idle = calm.seconds * SECOND >= rule.after
        if idle and rule.action is IdleAction.PAUSE and may_pause(guest.spec):
            inputs = {"idle": round(calm.seconds, 1), "cpu": round(calm.cpu or 0.0, 1)}
            self._start(guest.id, partial(self._fall_asleep, guest.id, live, inputs))

    def _busy(self, guest_id: str) -> bool:
        """Whether somebody works in it with a further process."""
        return any(
            one.started and one.code is None and not one.check
            for one in self._running.execs_of(guest_id)
        )

    def is_minimal(self, guest: Guest) -> bool:
        """Whether a guest that runs has been idle for so long that it gets only what it needs."""
        was = self._calm.get(guest.id)
        rule = rule_of(guest.spec, self._says.defaults())
        if was is None or was[1].seconds * SECOND < rule.after:
            return False
        pauses = rule.action is IdleAction.PAUSE and may_pause(guest.spec)
        return rule.action is not IdleAction.NEVER and not pauses

    def take_done(self) -> list[Change]:
        """What was done since this was asked last."""
        done, self._changes = self._changes, []
        return done

    # --- falling asleep

    async def _fall_asleep(self, guest_id: str, live: Live, inputs: Figures) -> None:
        """Listen first, note it, then freeze: whatever comes in between wakes it."""
        failure = ""
        async with self._roster.locks.hold(guest_id):
            guest = self._roster.get(guest_id)
            if guest.status.state is not GuestState.RUNNING or self._running.get(guest_id) != live:
                return
            self._calm.pop(guest_id, None)
            try:
                await self._listen(guest)
                if guest.spec.stdin_open:
                    await asyncio.sleep(SETTLE)
                asleep = replace(guest.status, state=GuestState.PAUSED, idle_since=time.time_ns())
                await self._roster.move(guest_id, asleep)
                await self._helper.call(FreezeGuest(id=guest_id, frozen=True, asleep=True))
            except WirtError as error:
                failure = error.message
                await self._rise(guest_id, live)
        self._remember(guest_id, Act.PAUSE, Reason.IDLE, inputs, failure)
        if not failure:
            self._publish(guest, "pause", Reason.IDLE)

    async def _take_up(self, guest_id: str) -> None:
        """It slept before the daemon was started: listen again, if it still sleeps."""
        async with self._roster.locks.hold(guest_id):
            guest = self._roster.get(guest_id)
            if guest.status.asleep:
                await self._listen(guest)
        if not self._says.frozen(guest_id):
            await self.wake(guest_id, Reason.UNWATCHED)

    async def _set_back(self, guest_id: str) -> None:
        """The clock was set back to before it fell asleep: its sleep is timed from now on."""
        async with self._roster.locks.hold(guest_id):
            status = self._roster.get(guest_id).status
            if status.asleep and status.idle_since > (now := time.time_ns()):
                await self._roster.move(guest_id, replace(status, idle_since=now))

    async def _listen(self, guest: Guest) -> None:
        watch = WatchTraffic(id=guest.id, typed=guest.spec.stdin_open)
        _, ends = await self._helper.call(watch)
        self._forget(guest.id)
        self._ends[guest.id] = ends[0]
        asyncio.get_running_loop().add_reader(ends[0], self._told, guest.id)

    def _forget(self, guest_id: str) -> None:
        end = self._ends.pop(guest_id, None)
        if end is not None:
            asyncio.get_running_loop().remove_reader(end)
            os.close(end)

    # --- waking

    def _told(self, guest_id: str) -> None:
        """The helper has thawed it, or has ended."""
        try:
            told = _DECODER.decode(os.read(self._ends[guest_id], 4096))
        except BlockingIOError:
            return
        except (OSError, msgspec.MsgspecError):
            told = Woken(why="unwatched")
        self._forget(guest_id)
        inputs = {"woken_after_us": float(told.micros)} if told.at else {}
        why = _HEARD.get(told.why, Reason.UNWATCHED)
        self._start(guest_id, partial(self.wake, guest_id, why, inputs))

    async def wake(
        self, guest_id: str, why: Reason = Reason.ASKED, inputs: Figures | None = None
    ) -> bool:
        """Let a guest go on that sleeps; whether it did. What a user has paused stays paused.

        Raises NotFound, and :class:`~wirt.errors.WirtError` when it cannot be thawed.
        """
        if not self._roster.get(guest_id).status.asleep:
            return False
        async with self._roster.locks.hold(guest_id):
            guest = self._roster.get(guest_id)
            live = self._running.get(guest_id)
            if not guest.status.asleep or live is None:
                return False
            slept = (time.time_ns() - guest.status.idle_since) / SECOND
            await self._rise(guest_id, live)
        self._forget(guest_id)
        rule = rule_of(guest.spec, self._says.defaults())
        if why is Reason.TIMER:  # long enough to see whether it has something to do
            rest = max(rule.after / SECOND - GLANCE, 0.0)
            self._calm[guest_id] = (live, Calm(seconds=rest))
        self._remember(guest_id, Act.WAKE, why, {"slept": round(slept, 1), **(inputs or {})})
        self._publish(guest, "unpause", why)
        return True

    async def _rise(self, guest_id: str, live: Live) -> None:
        """Thaw it, then note it: who counts as asleep is thawed again."""
        await live.handle.freeze(False)
        guest = self._roster.get(guest_id)
        if guest.status.state is GuestState.PAUSED:
            awake = replace(guest.status, state=GuestState.RUNNING, idle_since=0)
            await self._roster.move(guest_id, awake)

    async def run(self) -> None:
        """Nobody sleeps while the governor does not act, for ever; nor is listened for who does not
        sleep any more."""
        while True:
            await asyncio.sleep(LOOK)
            asleep = {guest.id for guest in self._roster.all() if guest.status.asleep}
            for guest_id in self._ends.keys() - asleep - self._moving:
                self._forget(guest_id)
            if self._says.acts():
                continue
            for guest in tuple(self._roster.all()):
                if guest.status.asleep:
                    with contextlib.suppress(WirtError):
                        await self.wake(guest.id, Reason.UNWATCHED)

    # ---

    def _start(self, guest_id: str, work: Callable[[], Awaitable[object]]) -> None:
        self._moving.add(guest_id)
        self._nursery.start(self._move(guest_id, work), name=f"doze {guest_id[:12]}")

    async def _move(self, guest_id: str, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except NotFound:
            pass  # it was removed meanwhile
        except WirtError as error:
            log.warning("guest %s: %s", guest_id[:12], error.message)
        finally:
            self._moving.discard(guest_id)

    def _remember(
        self, guest_id: str, act: Act, why: Reason, inputs: Figures, failure: str = ""
    ) -> None:
        self._changes.append(
            Change(
                at=time.time_ns(),
                guest=guest_id,
                resource=Resource.CPU,
                act=act,
                reason=why,
                inputs=dict(inputs),
                failure=failure,
            )
        )

    def _publish(self, guest: Guest, action: str, why: Reason) -> None:
        self._bus.publish(
            "guest", action, guest.id, name=guest.name, image=guest.spec.image, reason=why.value
        )


def _due(guest: Guest, rule: IdleRule, boosted: bool) -> Reason | None:
    """Why a guest that sleeps is to be woken now, if it is."""
    if boosted:
        return Reason.BOOST
    if rule.action is not IdleAction.PAUSE or not may_pause(guest.spec):
        return Reason.ASKED
    return Reason.TIMER if due(rule, guest.status.idle_since, time.time_ns()) else None


def _is_boosted(guest: Guest, boosted: Mapping[str, int]) -> bool:
    return guest.id in boosted or any(path in boosted for path in above(guest.spec.group))
