"""Start a guest: plan, launch, attach those who wait, run. Every step pushes its inverse.

The order makes a crash harmless: until START the keeper only waits, and what it holds dies with
it; after START the run directory tells the next daemon that the guest runs (``host/adopt.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from wirt.aio import shielded
from wirt.engine.protocol import Engine, Plan, Start
from wirt.errors import Conflict, Internal, NotFound, Timeout, Unavailable, WirtError
from wirt.host.attach import Attach
from wirt.host.events import Bus
from wirt.host.health import Health
from wirt.host.insist import insist
from wirt.host.prepare import Prepare
from wirt.host.roster import Roster, require_running
from wirt.host.running import Running, already_running
from wirt.host.undo import Undo
from wirt.host.waits import Outcome, Waits
from wirt.model.guest import Guest, GuestState, GuestStatus, Isolation
from wirt.privileged.client import Helper
from wirt.privileged.faults import fault
from wirt.privileged.protocol import Launched, LaunchGuest, ReleaseGuest

STARTABLE = frozenset({GuestState.CREATED, GuestState.EXITED, GuestState.RESTARTING})


class Plans:
    """From a stored guest to a launched keeper; no decisions about when or whether."""

    def __init__(
        self, *, prepare: Prepare, engines: Mapping[Isolation, Engine], helper: Helper
    ) -> None:
        self._prepare = prepare
        self._engines = engines
        self._helper = helper

    async def plan(self, guest: Guest) -> Plan:
        """What a start of this guest would do."""
        start = await self._prepare.start(guest)
        return self._engines[guest.spec.isolation].plan(start)

    async def launch(self, guest: Guest, *, fence: int | None) -> tuple[Plan, Launched]:
        """Plan and carry out; the keeper waits for START afterwards. ``fence``: see
        :class:`~wirt.engine.protocol.Start`."""
        start = replace(await self._prepare.start(guest), fence=fence)
        plan = self._engines[guest.spec.isolation].plan(start)
        try:
            return plan, await self._launch(start, plan.launch)
        except NotFound as error:
            if not self._prepare.lost(error, start):
                raise
        await self.release(guest)
        return plan, await self._launch(start, plan.launch)

    async def _launch(self, start: Start, verb: LaunchGuest) -> Launched:
        async with self._prepare.ready(start, verb):
            launched, descriptors = await self._helper.call(verb)
        for descriptor in descriptors:
            os.close(descriptor)
        return launched

    def give_up(self, guest: Guest, error: WirtError) -> bool:
        """See :meth:`wirt.engine.protocol.Engine.give_up`."""
        return self._engines[guest.spec.isolation].give_up(error)

    def trust_again(self, guest: Guest) -> None:
        """The inverse of :meth:`give_up`."""
        self._engines[guest.spec.isolation].trust_again()

    async def release(self, guest: Guest) -> None:
        """The inverse of :meth:`launch`."""
        await insist(self._helper, ReleaseGuest(id=guest.id))


Discard = Callable[[Guest], Awaitable[None]]
"""Removes a guest that could not be started and was to vanish at its end."""


Shape = Callable[[Guest], Awaitable[None]]
"""Limits a guest's traffic before it runs."""


Fence = Callable[[Guest], contextlib.AbstractAsyncContextManager[int | None]]
"""See :meth:`wirt.host.governing.newcomers.Newcomers.starting`."""


class Admitting(Protocol):
    """See :meth:`wirt.host.admit.Admit.start`."""

    def __call__(
        self, guest: Guest, *, again: bool
    ) -> contextlib.AbstractAsyncContextManager[None]: ...


class Launch:
    """The ``start`` verb. ``discard``, ``admit``, ``fence`` and ``shape`` are set by the wiring."""

    def __init__(
        self,
        *,
        roster: Roster,
        running: Running,
        plans: Plans,
        attach: Attach,
        health: Health,
        bus: Bus,
        waits: Waits,
    ) -> None:
        self._roster = roster
        self._running = running
        self._plans = plans
        self._attach = attach
        self._health = health
        self._bus = bus
        self._waits = waits
        self.discard: Discard = _unset
        self.admit: Admitting = _unset_too
        self.fence: Fence = _unset_fence
        self.shape: Shape = _unset

    async def start(self, guest: Guest, *, again: bool = False) -> Guest:
        """Start a guest and return it as it runs.

        Raises Conflict (``guest.running``) when it runs already. When the process cannot be run the
        error's ``facts["exit"]`` is 125, 126 or 127, as docker's. Raises Exhausted
        (``governor.promise``) when what was asked for cannot be promised to it now. ``again``: a
        restart that nobody asked for, so only of a guest whose status is still the one given.
        """
        async with self._roster.locks.hold(guest.id):
            before, guest = guest, self._roster.get(guest.id)
            _check_startable(guest, before if again else guest)
            try:
                async with self.admit(guest, again=again):
                    return await self._try(guest, again=again)
            except asyncio.CancelledError:
                cut = Timeout(f"guest {guest.name!r} could not be started in time")
                await shielded(self._failed(guest, cut, again=again))
                raise
            except Exception as error:  # noqa: BLE001 - told to whoever waits, then raised
                failure = _known(error)
                await self._failed(guest, failure, again=again)
        if guest.spec.remove_on_exit:
            with contextlib.suppress(Conflict):  # somebody has started it after all
                await self.discard(guest)
        raise failure

    async def _try(self, guest: Guest, *, again: bool) -> Guest:
        """Start; when that failed by what the host seemed to offer and does not, once more without.

        Whoever was attached has been hung up on by then, so that one is told to try again.
        """
        attached = self._attach.waits(guest)
        try:
            return await self._start(guest, again=again)
        except WirtError as error:
            if not self._plans.give_up(guest, error):
                raise
            if attached:
                error.hint = "machines are emulated from now on: try again"
                raise
        try:
            return await self._start(guest, again=again)
        except WirtError:
            self._plans.trust_again(guest)
            raise

    async def _start(self, guest: Guest, *, again: bool) -> Guest:
        async with self.fence(guest) as fence, Undo() as undo:
            undo.push("launch", lambda: self._plans.release(guest))
            plan, launched = await self._plans.launch(guest, fence=fence)
            undo.push("connect", lambda: self._running.drop(guest.id))
            live = await self._running.connect(guest)
            await self._attach.join_all(live, guest)
            fault("host.joined")
            await self.shape(guest)
            try:
                pid, started_at = await live.handle.start()
            except WirtError as error:
                error.facts["accelerator"] = plan.accelerator
                raise
            fault("host.started")
            guest = await self._note(guest, plan, launched, (pid, started_at), again=again)
            undo.keep()  # what cannot be noted shall not run
        fault("host.noted")
        self._bus.publish("guest", "start", guest.id, name=guest.name, image=guest.spec.image)
        self._health.watch(guest)
        return guest

    async def _note(
        self,
        guest: Guest,
        plan: Plan,
        launched: Launched,
        started: tuple[int, int],
        *,
        again: bool,
    ) -> Guest:
        count = guest.status.restart_count + 1 if again else 0
        status = GuestStatus(
            state=GuestState.RUNNING,
            pid=started[0],
            started_at=started[1],
            finished_at=guest.status.finished_at,
            restart_count=count,
            accelerator=plan.accelerator,
        )
        guest = replace(
            self._roster.get(guest.id),
            ports=launched.ports,
            boot_id=boot_id(),
            warnings=plan.warnings,
        )
        guest = replace(guest, status=status)
        await self._roster.save(guest)
        return guest

    async def _failed(self, guest: Guest, error: WirtError, *, again: bool) -> None:
        """Remember why, tell those who wait, hang up on those attached.

        A restart for which the helper or the keeper was not there stays due.
        """
        error.facts.setdefault("exit", 125)
        code = int(error.facts["exit"])
        state = GuestState.EXITED
        if guest.status.state is GuestState.CREATED:
            state = GuestState.CREATED
        elif again and isinstance(error, Unavailable):
            state = GuestState.RESTARTING
        status = replace(guest.status, state=state, exit_code=code, error=error.message)
        try:
            await self._roster.save(replace(self._roster.get(guest.id), status=status))
        finally:
            await self._attach.release(guest)
            due = state is GuestState.RESTARTING
            self._waits.ended(guest.id, Outcome(code, error.message), restarting=due)


def _check_startable(guest: Guest, before: Guest) -> None:
    state = guest.status.state
    if state in {GuestState.REMOVING, GuestState.DEAD}:
        raise Conflict(f"guest {guest.name!r} is being removed", code="guest.removing")
    if state is GuestState.PAUSED:
        require_running(guest)
    if state not in STARTABLE:
        raise already_running(guest)
    if guest.status != before.status:
        raise Conflict(f"guest {guest.name!r} was not to be restarted any more")


def _known(error: Exception) -> WirtError:
    if isinstance(error, WirtError):
        return error
    unknown = Internal(f"internal error: {type(error).__name__}: {error}")
    unknown.__cause__ = error
    return unknown


async def _unset(guest: Guest) -> None:
    raise AssertionError("Launch.discard is set by the wiring")


def _unset_fence(guest: Guest) -> contextlib.AbstractAsyncContextManager[int | None]:
    raise AssertionError("Launch.fence is set by the wiring")


def _unset_too(guest: Guest, *, again: bool) -> contextlib.AbstractAsyncContextManager[None]:
    raise AssertionError("Launch.admit is set by the wiring")


def boot_id() -> str:
    """The host's boot id (proc_sys_kernel(5), ``random/boot_id``)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
