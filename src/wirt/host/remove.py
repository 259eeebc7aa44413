"""Remove a guest: kill it if asked, then everything it had, its row last."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Protocol

from wirt.errors import Conflict, NotFound
from wirt.host.events import Bus
from wirt.host.insist import insist
from wirt.host.roster import Roster
from wirt.host.running import Running
from wirt.host.waits import Outcome, Waits
from wirt.model.guest import Guest, GuestState
from wirt.privileged.client import Helper
from wirt.privileged.faults import fault
from wirt.privileged.protocol import ForgetGuest, KillGuest

log = logging.getLogger("wirt.remove")

KILL_DEADLINE = 30.0


class Release(Protocol):
    """Whoever holds something for a guest (addresses, anonymous volumes, waiting clients)."""

    async def release(self, guest: Guest, *, volumes: bool) -> None:
        """Let go of everything held for this guest; ``volumes``: its anonymous volumes too."""
        ...


class Remove:
    """The ``rm`` verb."""

    def __init__(
        self,
        *,
        roster: Roster,
        running: Running,
        helper: Helper,
        holders: tuple[Release, ...],
        bus: Bus,
        waits: Waits,
    ) -> None:
        self._roster = roster
        self._running = running
        self._helper = helper
        self._holders = holders
        self._bus = bus
        self._waits = waits

    async def remove(self, guest: Guest, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a guest. Raises Conflict when it runs and ``force`` is not given."""
        if guest.status.state in {GuestState.RUNNING, GuestState.PAUSED}:
            if not force:
                raise Conflict(
                    f"cannot remove guest {guest.name!r}: it is {guest.status.state.value}",
                    hint=f"stop it first, or 'wirt rm -f {guest.name}'",
                    code="guest.running",
                )
            await self._kill(guest)
        async with self._roster.locks.hold(guest.id):
            await self._remove(guest.id, volumes=volumes)

    async def _kill(self, guest: Guest) -> None:
        guest = await self._roster.revise(
            guest.id, lambda status: replace(status, stopped_by_user=True)
        )
        live = self._running.get(guest.id)
        await insist(self._helper, KillGuest(id=guest.id))
        if live is not None:
            try:
                await asyncio.wait_for(live.ended.wait(), KILL_DEADLINE)
            except TimeoutError:
                log.warning("guest %s did not end when killed", guest.name)
                await insist(self._helper, KillGuest(id=guest.id, keeper=True))
                await asyncio.wait_for(live.ended.wait(), KILL_DEADLINE)

    async def _remove(self, guest_id: str, *, volumes: bool) -> None:
        try:
            guest = self._roster.get(guest_id)
        except NotFound:
            return  # it removed itself meanwhile, as asked
        if guest.status.state in {GuestState.RUNNING, GuestState.PAUSED}:
            raise Conflict(f"guest {guest.name!r} was started meanwhile", code="guest.running")
        if guest.status.state is not GuestState.REMOVING:
            # the row goes last: after a crash the next start goes on here, volumes and all
            guest = replace(
                guest,
                status=replace(guest.status, state=GuestState.REMOVING),
                spec=replace(guest.spec, remove_on_exit=volumes or guest.spec.remove_on_exit),
            )
            await self._roster.save(guest)
        fault("host.removing")
        await insist(self._helper, ForgetGuest(id=guest_id))
        fault("host.forgotten")
        for holder in self._holders:
            await holder.release(guest, volumes=guest.spec.remove_on_exit or volumes)
        fault("host.let-go")
        self._running.forget_execs(guest_id)
        await self._roster.remove(guest_id)
        self._bus.publish("guest", "destroy", guest_id, name=guest.name, image=guest.spec.image)
        self._waits.removed(guest_id, Outcome(guest.status.exit_code, guest.status.error))
