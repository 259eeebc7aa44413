"""Stop, restart, kill, pause and resume a running guest."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from wirt.errors import Conflict, WirtError
from wirt.host.events import Bus
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

    def __init__(self, *, roster: Roster, running: Running, helper: Helper, bus: Bus) -> None:
        self._roster = roster
        self._running = running
        self._helper = helper
        self._bus = bus

    async def kill(self, guest: Guest, number: int) -> None:
        """Send a signal. Raises Conflict when the guest does not run."""
        live = self._running.require(guest, paused_too=True)
        if number == SIGKILL:
            await self._by_user(guest)
            await insist(self._helper, KillGuest(id=guest.id))
        else:
            await live.handle.signal(number)
        self._publish(guest, "kill", signal=str(number))

    async def pause(self, guest: Guest, paused: bool) -> None:
        """Freeze or thaw. Raises Conflict when there is nothing to change."""
        async with self._roster.locks.hold(guest.id):
            guest = self._roster.get(guest.id)
            if not paused and guest.status.state is not GuestState.PAUSED:
                require_running(guest)
                raise Conflict(f"guest {guest.name!r} is not paused", code="guest.not-paused")
            live = self._running.require(guest, paused_too=not paused)
            await live.handle.freeze(paused)
            state = GuestState.PAUSED if paused else GuestState.RUNNING
            await self._roster.move(guest.id, replace(guest.status, state=state))
        self._publish(guest, "pause" if paused else "unpause")

    async def stop(self, guest: Guest, number: int, timeout: int) -> None:
        """Ask the guest to end by signal ``number``; after ``timeout`` seconds (-1: never) kill it.

        Returns when it has ended. A paused guest is thawed first.
        """
        live = self._running.get(guest.id)
        await self._by_user(guest)
        if live is None:
            await insist(self._helper, KillGuest(id=guest.id, keeper=True))
            return
        if guest.status.state is GuestState.PAUSED:
            await self.pause(guest, False)
        try:
            await live.handle.signal(number)
        except WirtError:
            timeout = 0  # it cannot hear: go on to the kill
        if not await _ended(live, None if timeout < 0 else timeout):
            await insist(self._helper, KillGuest(id=guest.id))
            if not await _ended(live, KILL_DEADLINE):
                await insist(self._helper, KillGuest(id=guest.id, keeper=True))
                await _ended(live, KILL_DEADLINE)
        self._publish(guest, "stop")

    async def _by_user(self, guest: Guest) -> None:
        """Note that the user wants it down, so no restart policy brings it back."""
        await self._roster.revise(guest.id, by_user)

    def _publish(self, guest: Guest, action: str, **facts: str) -> None:
        self._bus.publish(
            "guest", action, guest.id, name=guest.name, image=guest.spec.image, **facts
        )


class Stop:
    """The ``stop`` and ``restart`` verbs."""

    def __init__(self, *, roster: Roster, signals: Signals, launch: Launch, bus: Bus) -> None:
        self._roster = roster
        self._signals = signals
        self._launch = launch
        self._bus = bus

    async def stop(self, guest: Guest, timeout: int | None) -> bool:
        """Stop a guest; False when it does not run. ``timeout`` None: its own, else 10 s."""
        guest = self._roster.get(guest.id)
        if guest.status.state is GuestState.RESTARTING:
            await self._stay_down(guest)
            return True
        if guest.status.state not in {GuestState.RUNNING, GuestState.PAUSED}:
            return False
        if timeout is None:
            timeout = guest.spec.stop_timeout
        if timeout is None:
            timeout = DEFAULT_STOP_TIMEOUT
        await self._signals.stop(guest, stop_signal(guest), timeout)
        return True

    async def restart(self, guest: Guest, timeout: int | None) -> None:
        """Stop if it runs, then start."""
        await self.stop(guest, timeout)
        await self._launch.start(self._roster.get(guest.id))
        self._bus.publish("guest", "restart", guest.id, name=guest.name, image=guest.spec.image)

    async def _stay_down(self, guest: Guest) -> None:
        def down(status: GuestStatus) -> GuestStatus:
            waiting = status.state is GuestState.RESTARTING
            return replace(by_user(status), state=GuestState.EXITED if waiting else status.state)

        await self._roster.revise(guest.id, down)


def by_user(status: GuestStatus) -> GuestStatus:
    """The status of a guest that the user wants down."""
    return replace(status, stopped_by_user=True)


def stop_signal(guest: Guest) -> int:
    """The signal that asks this guest to end; the image's own was stored at create."""
    return parse_signal(guest.spec.stop_signal or "TERM")


async def _ended(live: Live, timeout: float | None) -> bool:
    try:
        await asyncio.wait_for(live.ended.wait(), timeout)
    except TimeoutError:
        return False
    return True
