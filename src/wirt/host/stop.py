"""Stop, restart, kill, pause and resume a running guest."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from wirt.errors import Conflict, Timeout, WirtError
from wirt.host.admit import Admit
from wirt.host.events import Bus
from wirt.host.finish import UP, Finish
from wirt.host.insist import insist
from wirt.host.launch import Launch
from wirt.host.process import parse_signal
from wirt.host.roster import Roster, require_running
from wirt.host.running import Live, Running
from wirt.model.guest import Guest, GuestState, GuestStatus
from wirt.privileged.client import Helper
from wirt.privileged.protocol import KillGuest

DEFAULT_STOP_TIMEOUT = 10

LONGEST_STOP = 24 * 3600
"""Seconds; the longest stop timeout anybody may ask for."""

KILL_DEADLINE = 30.0
SIGKILL = 9


class Signals:
    """Whatever reaches a running guest from outside: signals, freeze, the end."""

    def __init__(
        self, *, roster: Roster, running: Running, helper: Helper, finish: Finish, bus: Bus
    ) -> None:
        self._roster = roster
        self._running = running
        self._helper = helper
        self._finish = finish
        self._bus = bus

    async def kill(self, guest: Guest, number: int) -> None:
        """Send a signal. Raises Conflict when the guest does not run."""
        live = self._running.require(guest, paused_too=True)
        if number == SIGKILL:
            await self.stay_down(guest)
            await insist(self._helper, KillGuest(id=guest.id))
        else:
            await live.handle.signal(number)
        self._publish(guest, "kill", signal=str(number))

    async def pause(self, guest: Guest, paused: bool) -> None:
        """Freeze or thaw; of a guest that sleeps a pause is its user's from now on. Raises Conflict
        when there is nothing to change."""
        async with self._roster.locks.hold(guest.id):
            guest = self._roster.get(guest.id)
            if not paused and guest.status.state is not GuestState.PAUSED:
                require_running(guest)
                raise Conflict(f"guest {guest.name!r} is not paused", code="guest.not-paused")
            live = self._running.require(guest, paused_too=not paused or guest.status.asleep)
            if paused:
                await self._freeze(guest, live)
            else:
                await live.handle.freeze(False)
                running = replace(guest.status, state=GuestState.RUNNING, idle_since=0)
                await self._roster.move(guest.id, running)
        self._publish(guest, "pause" if paused else "unpause")

    async def _freeze(self, guest: Guest, live: Live) -> None:
        """Note it, then do it: a frozen guest that counts as running could not be thawed."""
        noted = replace(guest.status, state=GuestState.PAUSED, idle_since=0)
        await self._roster.move(guest.id, noted)
        try:
            await live.handle.freeze(True)
        except WirtError:
            with contextlib.suppress(WirtError):  # whoever was cut off may have done it
                await live.handle.freeze(False)
            await self._roster.move(guest.id, guest.status)
            raise

    async def stop(self, guest: Guest, number: int, timeout: int) -> None:
        """Ask the guest to end by signal ``number``; after ``timeout`` seconds (-1: never) kill it.

        Returns when it has ended. A paused guest is thawed first. One whose keeper was lost is
        killed and brought to rest. Raises Timeout when it cannot even be killed.
        """
        guest = await self.stay_down(guest)
        live = self._running.get(guest.id)
        if guest.status.state not in UP:
            return  # it has ended in this very moment
        if live is None:
            await self._finish.bury(guest.id)
            return
        if guest.status.state is GuestState.PAUSED:
            with contextlib.suppress(WirtError):  # the kill below thaws it too
                await self.pause(guest, False)
        try:
            await live.handle.signal(number)
        except WirtError:
            timeout = 0  # it cannot hear: go on to the kill
        if not await has_ended(live, None if timeout < 0 else timeout):
            await self._kill_for_good(guest, live)
        self._publish(guest, "stop")

    def sparing(self, guest: Guest) -> contextlib.AbstractContextManager[None]:
        """Meanwhile an end of this guest does not remove it."""
        return self._finish.sparing(guest.id)

    async def take_down(self, guest: Guest) -> None:
        """Kill a guest and wait for its end; nothing happens when it is down. Raises Timeout."""
        guest = await self.stay_down(guest)
        live = self._running.get(guest.id)
        if live is not None:
            await self._kill_for_good(guest, live)
        elif guest.status.state in UP:
            await self._finish.bury(guest.id)

    async def _kill_for_good(self, guest: Guest, live: Live) -> None:
        """Kill a guest, in the end with its keeper. Raises Timeout when that does not help."""
        for keeper in (False, True):
            await insist(self._helper, KillGuest(id=guest.id, keeper=keeper))
            if await has_ended(live, KILL_DEADLINE):
                return
        raise Timeout(
            f"guest {guest.name!r} did not end when it was killed",
            hint="a process of it may hang in the kernel: see 'wirt top' and the host's log",
            code="guest.does-not-end",
        )

    async def stay_down(self, guest: Guest) -> Guest:
        """Note that the user wants it down, so no restart policy brings it back."""
        return await self._roster.revise(guest.id, wanted_down)

    def _publish(self, guest: Guest, action: str, **facts: str) -> None:
        self._bus.publish(
            "guest", action, guest.id, name=guest.name, image=guest.spec.image, **facts
        )


class Stop:
    """The ``stop`` and ``restart`` verbs."""

    def __init__(
        self, *, roster: Roster, signals: Signals, launch: Launch, bus: Bus, admit: Admit
    ) -> None:
        self._roster = roster
        self._signals = signals
        self._launch = launch
        self._bus = bus
        self._admit = admit

    async def stop(self, guest: Guest, timeout: int | None) -> bool:
        """Stop a guest; False when it does not run. ``timeout`` None: its own, else 10 s."""
        guest = self._roster.get(guest.id)
        if guest.status.state is GuestState.RESTARTING:
            guest = await self._signals.stay_down(guest)  # it may have come back just now
            if guest.status.state not in UP:
                return True
        if guest.status.state not in UP:
            return False
        if timeout is None:
            timeout = guest.spec.stop_timeout
        if timeout is None:
            timeout = DEFAULT_STOP_TIMEOUT
        await self._signals.stop(guest, stop_signal(guest), timeout)
        return True

    async def restart(self, guest: Guest, timeout: int | None) -> None:
        """Stop if it runs, then start, also a guest that is removed at its end."""
        with self._admit.keeping(guest):
            with self._signals.sparing(guest):
                await self.stop(guest, timeout)
            await self._launch.start(self._roster.get(guest.id))
        self._bus.publish("guest", "restart", guest.id, name=guest.name, image=guest.spec.image)


def wanted_down(status: GuestStatus) -> GuestStatus:
    """The status of a guest that the user wants down: it is not restarted."""
    waiting = status.state is GuestState.RESTARTING
    return replace(
        status,
        stopped_by_user=True,
        state=GuestState.EXITED if waiting else status.state,
    )


def stop_signal(guest: Guest) -> int:
    """The signal that asks this guest to end; the image's own was stored at create."""
    return parse_signal(guest.spec.stop_signal or "TERM")


async def has_ended(live: Live, timeout: float | None) -> bool:
    """Whether a run ends within ``timeout`` seconds; None: however long it takes."""
    try:
        await asyncio.wait_for(live.ended.wait(), timeout)
    except TimeoutError:
        return False
    return True
