"""Remove a guest: kill it if asked, then everything it had, its row last."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
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
from wirt.privileged.protocol import ForgetGuest

log = logging.getLogger("wirt.remove")

UP = frozenset({GuestState.RUNNING, GuestState.PAUSED})

FORCED_TRIES = 8
"""How often a guest is taken down that somebody else keeps starting."""

TakeDown = Callable[[Guest], Awaitable[object]]
"""Kills a guest and waits for its end; nothing happens when it is down."""


class Release(Protocol):
    """Whoever holds something for a guest (addresses, anonymous volumes, waiting clients)."""

    async def release(self, guest: Guest, *, volumes: bool) -> None:
        """Let go of everything held for this guest; ``volumes``: its anonymous volumes too."""
        ...


class Remove:
    """The ``rm`` verb. ``take_down`` is set by the wiring."""

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
        self.take_down: TakeDown = _unset

    async def remove(self, guest: Guest, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a guest. Raises Conflict when it runs and ``force`` is not given."""
        for _ in range(FORCED_TRIES):
            if force:
                with contextlib.suppress(NotFound):
                    await self.take_down(guest)
            async with self._roster.locks.hold(guest.id):
                try:
                    guest = self._roster.get(guest.id)
                except NotFound:
                    return  # it removed itself meanwhile, as asked
                if guest.status.state not in UP:
                    await self._remove(guest, volumes=volumes)
                    return
            if not force:
                break
        raise Conflict(
            f"cannot remove guest {guest.name!r}: it is {guest.status.state.value}",
            hint=f"stop it first, or 'wirt rm -f {guest.name}'",
            code="guest.running",
        )

    async def _remove(self, guest: Guest, *, volumes: bool) -> None:
        guest_id = guest.id
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


async def _unset(guest: Guest) -> None:
    raise AssertionError("Remove.take_down is set by the wiring")
