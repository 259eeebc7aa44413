"""What happens when a guest's main process has ended: release, tell, and what comes after.

Runs once per start, whoever ended it: the process itself, a signal, the host, or a lost keeper.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

from wirt.aio import Nursery
from wirt.engine.protocol import Exit
from wirt.errors import WirtError
from wirt.guest.frame import decode_record
from wirt.host.events import Bus
from wirt.host.insist import insist
from wirt.host.restart import next_delay
from wirt.host.roster import Roster
from wirt.host.running import Live, Running, parse_exit
from wirt.host.waits import Outcome, Waits
from wirt.layout import Layout
from wirt.model.guest import Guest, GuestState, GuestStatus
from wirt.privileged.client import Helper
from wirt.privileged.faults import fault
from wirt.privileged.protocol import KillGuest, ReleaseGuest

log = logging.getLogger("wirt.finish")

UP = frozenset({GuestState.RUNNING, GuestState.PAUSED})

After = Callable[[Guest, float], Coroutine[Any, Any, None]]
"""What to do with an ended guest that is to be removed or restarted after so many seconds."""


class Finish:
    """Brings ended guests to rest. ``remove`` and ``start_again`` are set by the wiring."""

    def __init__(
        self,
        *,
        layout: Layout,
        roster: Roster,
        running: Running,
        helper: Helper,
        bus: Bus,
        waits: Waits,
        nursery: Nursery,
    ) -> None:
        self._layout = layout
        self._roster = roster
        self._running = running
        self._helper = helper
        self._bus = bus
        self._waits = waits
        self._nursery = nursery
        self.remove: After = _unset
        self.start_again: After = _unset
        self._spared: Counter[str] = Counter()
        running.on_ended = self._ended

    @contextlib.contextmanager
    def sparing(self, guest_id: str) -> Iterator[None]:
        """Meanwhile the end of this guest is no reason to remove it: it will be started again."""
        self._spared[guest_id] += 1
        try:
            yield
        finally:
            self._spared[guest_id] -= 1
            self._spared += Counter()  # those at zero go

    def _ended(self, live: Live) -> None:
        self._nursery.start(self.finish(live), name=f"finish {live.guest_id[:12]}")

    def read_exit(self, guest_id: str) -> Exit | None:
        """The exit record that a keeper left, or None."""
        try:
            data = (self._layout.guest_run(guest_id) / "exit").read_bytes()
        except OSError:
            return None
        return parse_exit(decode_record(data))

    async def put_down(self, guest_id: str) -> Exit:
        """Kill what is left of a guest whose keeper is gone; its true status is lost with it."""
        try:
            await insist(self._helper, KillGuest(id=guest_id, keeper=True))
        except WirtError as error:
            log.warning("guest %s: could not kill what is left: %s", guest_id[:12], error)
        return Exit(code=137, signal=9, time=time.time_ns(), error="the guest's keeper was killed")

    async def finish(self, live: Live) -> None:
        """Bring a guest to rest whose run ``live`` is over.

        Nothing happens when that run was undone or finished meanwhile: the next one may have begun.
        """
        guest_id = live.guest_id
        try:
            async with self._roster.locks.hold(guest_id):
                if self._running.get(guest_id) is not live:
                    return
                if live.exit is None:  # the keeper wrote its record first, or was killed
                    live.exit = self.read_exit(guest_id) or await self.put_down(guest_id)
                await self._running.drop(guest_id)
                guest, delay = await self._settled(guest_id, live.exit)
            await self._afterwards(guest, delay)
        finally:
            live.ended.set()

    async def bury(self, guest_id: str, ending: Exit | None = None) -> None:
        """Bring a guest to rest that ended while nobody watched; ``ending`` None: as was noted.

        Nothing happens when it is down already or runs in our sight.
        """
        async with self._roster.locks.hold(guest_id):
            guest = self._roster.get(guest_id)
            if self._running.get(guest_id) is not None or guest.status.state not in UP:
                return
            ending = ending or self.read_exit(guest_id) or noted_exit(guest)
            ending = ending or await self.put_down(guest_id)
            guest, delay = await self._settled(guest_id, ending)
        await self._afterwards(guest, delay)

    async def _settled(self, guest_id: str, ending: Exit) -> tuple[Guest, float | None]:
        """As :meth:`_settle`; who waits is answered even when the end cannot be noted."""
        try:
            return await self._settle(self._roster.get(guest_id), ending)
        except WirtError:
            self._waits.ended(guest_id, Outcome(ending.code, ending.error))
            raise
        finally:
            self._running.settled(guest_id)

    async def _afterwards(self, guest: Guest, delay: float | None) -> None:
        outcome = Outcome(guest.status.exit_code, guest.status.error)
        restarting = guest.status.state is GuestState.RESTARTING
        self._waits.ended(guest.id, outcome, restarting=restarting)
        if guest.status.state is GuestState.REMOVING:
            await self.remove(guest, 0.0)
        elif delay is not None:
            self._nursery.start(self.start_again(guest, delay), name=f"restart {guest.name}")

    async def _note(self, guest: Guest, ending: Exit) -> Guest:
        """Write the ending down before the release, which takes the keeper's record away."""
        guest = replace(guest, status=_ended_as(guest, ending))
        await self._roster.save(guest)
        return guest

    async def _settle(self, guest: Guest, ending: Exit) -> tuple[Guest, float | None]:
        fault("host.ended")
        delay = next_delay(guest, ending)
        state = GuestState.EXITED if delay is None else GuestState.RESTARTING
        if guest.spec.remove_on_exit and not self._spared[guest.id]:
            delay = None
            state = GuestState.REMOVING  # nobody may start it from here on
        else:
            guest = await self._note(guest, ending)
            try:
                await insist(self._helper, ReleaseGuest(id=guest.id))
            except WirtError as error:
                log.warning("guest %s: could not release: %s", guest.name, error)
        fault("host.released")
        status = replace(
            _ended_as(guest, ending),
            state=state,
            pid=0,
            health=None,
        )
        guest = await self._roster.move(guest.id, status)
        fault("host.settled")
        facts = {"name": guest.name, "image": guest.spec.image}
        if ending.oom_killed:
            self._bus.publish("guest", "oom", guest.id, **facts)
        lasted = max(0, ending.time - guest.status.started_at) // 10**9
        self._bus.publish(
            "guest",
            "die",
            guest.id,
            exitCode=str(ending.code),
            execDuration=str(lasted),
            **facts,
        )
        return guest, delay


def _ended_as(guest: Guest, ending: Exit) -> GuestStatus:
    """The status with how it ended; the state is still the one before."""
    return replace(
        guest.status,
        exit_code=ending.code,
        error="" if _as_wished(guest, ending) else ending.error,
        oom_killed=ending.oom_killed,
        finished_at=ending.time,
    )


def noted_exit(guest: Guest) -> Exit | None:
    """How it ended, when an earlier daemon wrote that down and then no more; else None."""
    status = guest.status
    if status.finished_at <= status.started_at:
        return None
    return Exit(
        code=status.exit_code,
        oom_killed=status.oom_killed,
        time=status.finished_at,
        error=status.error,
    )


def _as_wished(guest: Guest, ending: Exit) -> bool:
    """Whether the user had it killed: that a machine then ends without a word is no error."""
    return guest.status.stopped_by_user and ending.code == 137


async def _unset(guest: Guest, delay: float) -> None:
    raise AssertionError("Finish.remove and Finish.start_again are set by the wiring")
