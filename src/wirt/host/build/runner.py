"""Runs the steps of builds, each in a guest of its own that nobody sees.

Such a guest has no row in the database: it is known here only, and what a killed daemon leaves of
it belongs to nobody, so the next start sweeps it away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from wirt.aio import shielded
from wirt.engine.protocol import Exit, Start
from wirt.errors import NotFound, Timeout
from wirt.host.build import machine, plan
from wirt.host.build.agents import listening
from wirt.host.build.caches import BuildCaches
from wirt.host.build.ground import BuildGround
from wirt.host.build.layer import make_layer
from wirt.host.build.session import Session, session
from wirt.host.insist import insist
from wirt.image.build.step import (
    CacheMount,
    LayerMade,
    Out,
    RunStep,
    StepFailed,
)
from wirt.image.store import Lease
from wirt.model.guest import Guest, Isolation
from wirt.model.names import new_id, short
from wirt.model.network import DEFAULT_NETWORK, Attachment
from wirt.privileged.faults import fault
from wirt.privileged.protocol import ForgetGuest, ReleaseGuest
from wirt.state.images import Orphans

log = logging.getLogger("wirt.build")

MOST_KEPT = 16
"""Failed steps that wait for somebody to look into them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A failed step's guest, and what it was. ``layers``: what it needs of the store; they stay for
    as long as ``hold`` is open."""

    guest: Guest
    base: tuple[str, ...]
    step: RunStep
    layers: tuple[str, ...]
    hold: contextlib.ExitStack


class Steps:
    """See :class:`wirt.image.build.step.Runner`."""

    def __init__(self, ground: BuildGround, caches: BuildCaches) -> None:
        self._ground = ground
        self._caches = caches
        self._kept: dict[str, _Kept] = {}
        self._disks = machine.Disks(ground)
        self._shells: dict[str, Session] = {}
        self._alive: set[str] = set()

    @property
    def guests(self) -> frozenset[str]:
        """Ids of guests that steps have now, which a sweep must leave alone."""
        return frozenset(self._alive)

    async def run(
        self, base: tuple[str, ...], step: RunStep, out: Out, *, lease: Lease
    ) -> LayerMade:
        """See :meth:`wirt.image.build.step.Runner.run`."""
        plan.check(step)
        guest = plan.guest_of(new_id(), base, step, now=time.time_ns())
        self._alive.add(guest.id)
        keep = False
        try:
            if step.isolation is Isolation.CONTAINER:
                ending, made = await self._in_container(guest, base, step, out, lease)
            else:
                ending, made = await self._in_machine(guest, base, step, out, lease)
            if made is not None:
                return made
            keep = step.keep_failed
            if keep:
                await self._keep(guest, base, step)
            raise _failed(step, ending, guest.id if keep else "")
        finally:
            if not keep:
                await shielded(self._forget(guest.id))

    async def shell(
        self, guest: str, argv: tuple[str, ...], descriptor: int, *, rows: int, columns: int
    ) -> int:
        """See :meth:`wirt.image.build.step.Runner.shell`."""
        try:
            self.require(guest)
            kept = self._kept.pop(guest)
            try:
                ending = await self._interact(kept, argv, descriptor, (rows, columns))
            finally:
                self._shells.pop(guest, None)
                await shielded(self._let_go(kept))
        finally:
            os.close(descriptor)
        return ending.code

    async def _interact(
        self, kept: _Kept, argv: tuple[str, ...], descriptor: int, size: tuple[int, int]
    ) -> Exit:
        step = plan.shell_step(kept.step, argv)
        spec = replace(kept.guest.spec, tty=True, stdin_open=True, stdin_once=True, command=argv)
        guest = replace(kept.guest, spec=spec)
        if step.isolation is Isolation.CONTAINER:
            async with self._launched(guest, kept.base, step) as live:
                self._shells[guest.id] = live
                return await live.interact(descriptor, rows=size[0], columns=size[1])
        async with (
            self._disks.use(kept.base),
            self._launched(kept.guest, kept.base, step) as live,
        ):
            self._shells[guest.id] = live
            return await machine.interact(live, step, descriptor, size)

    def require(self, guest: str) -> None:
        """Raise NotFound unless this failed step waits for somebody to look into it."""
        if guest not in self._kept:
            raise _no_such_step(guest)

    async def resize(self, guest: str, *, rows: int, columns: int) -> None:
        """Tell the terminal of a step's shell its size. Raises NotFound."""
        live = self._shells.get(guest)
        if live is None:
            raise _no_such_step(guest)
        await live.resize(rows, columns)

    async def drop(self, guest: str) -> None:
        """See :meth:`wirt.image.build.step.Runner.drop`."""
        if (kept := self._kept.pop(guest, None)) is not None:
            await shielded(self._let_go(kept))

    async def _keep(self, guest: Guest, base: tuple[str, ...], step: RunStep) -> None:
        """Remember a failed step; the oldest one goes when there are too many."""
        layers = tuple(dict.fromkeys((*base, *plan.layers_of(step))))
        hold = contextlib.ExitStack()
        hold.enter_context(self._ground.layers.hold(layers))
        self._kept[guest.id] = _Kept(guest=guest, base=base, step=step, layers=layers, hold=hold)
        if len(self._kept) > MOST_KEPT:
            await self.drop(next(iter(self._kept)))

    async def _let_go(self, kept: _Kept) -> None:
        """Delete what a kept step has left, and the layers that only it still needed."""
        try:
            await self._forget(kept.guest.id)
        finally:
            kept.hold.close()
            await self._ground.layers.drop(Orphans(chain_ids=kept.layers))

    # --- one guest --------------------------------------------------------------------------

    async def _in_container(
        self, guest: Guest, base: tuple[str, ...], step: RunStep, out: Out, lease: Lease
    ) -> tuple[Exit, LayerMade | None]:
        async with self._bounded(guest, base, step) as live:
            ending = await live.run(step.stdin, out)
        fault("step.ended")
        if ending.code != 0:
            return ending, None
        return ending, await make_layer(self._ground, guest.id, base, step, lease)

    async def _in_machine(
        self, guest: Guest, base: tuple[str, ...], step: RunStep, out: Out, lease: Lease
    ) -> tuple[Exit, LayerMade | None]:
        machine.check(step)
        async with self._disks.use(base), self._bounded(guest, base, step) as live:
            ending, changed = await machine.run(self._ground, live, step, out)
        fault("step.ended")
        if changed is None:
            return ending, None
        try:
            return ending, await machine.keep(self._ground, base, changed, lease)
        finally:
            await self._ground.pipes.call(changed.upload.discard)

    @contextlib.asynccontextmanager
    async def _bounded(
        self, guest: Guest, base: tuple[str, ...], step: RunStep
    ) -> AsyncIterator[Session]:
        try:
            async with asyncio.timeout(step.timeout):
                async with self._launched(guest, base, step) as live:
                    yield live
        except TimeoutError:
            raise Timeout(
                f"{_what(step)} took longer than {step.timeout:g} seconds", code="build.timeout"
            ) from None

    @contextlib.asynccontextmanager
    async def _launched(
        self, guest: Guest, base: tuple[str, ...], step: RunStep
    ) -> AsyncIterator[Session]:
        """The guest with everything it needs; afterwards nothing of it runs any more."""
        ground = self._ground
        in_machine = step.isolation is not Isolation.CONTAINER
        caches = [one for one in step.mounts if isinstance(one, CacheMount)]
        agents = () if in_machine else plan.agents_of(step)
        async with (
            self._caches.use(caches, in_machine=in_machine) as names,
            listening(ground.layout.uploads, agents) as sockets,
            self._place(guest) as guest,
        ):
            start = await self._start(guest, base, step)
            engine = ground.engines[step.isolation]
            sources = plan.sources_of(step, plan.Names(caches=names, sockets=sockets))
            launch = plan.with_sources(engine.plan(start).launch, sources)
            try:
                _, descriptors = await ground.helper.call(launch)
                for descriptor in descriptors:
                    os.close(descriptor)
                fault("step.launched")
                async with session(ground.layout, engine, guest) as live:
                    yield live
            finally:
                await shielded(insist(ground.helper, ReleaseGuest(id=guest.id)))

    @contextlib.asynccontextmanager
    async def _place(self, guest: Guest) -> AsyncIterator[Guest]:
        """The guest with an address on the default network, if it is to have one."""
        if guest.spec.network_mode:
            yield guest
            return
        networks = self._ground.networks
        network = networks.find(DEFAULT_NETWORK)
        wish = Attachment(network=DEFAULT_NETWORK)
        endpoint = await networks.claim(guest.id, network, wish, names=(), interface="eth0")
        try:
            yield replace(guest, endpoints=(endpoint,))
        finally:
            await shielded(networks.release_one(guest.id, network.id))

    async def _start(self, guest: Guest, base: tuple[str, ...], step: RunStep) -> Start:
        ground = self._ground
        process = plan.process_of(step)
        if guest.spec.tty and not any(entry.startswith("TERM=") for entry in process.env):
            process = replace(process, env=(*process.env, "TERM=xterm"))
        return Start(
            guest=guest,
            image=plan.image_of(base),
            process=process,
            network="host" if step.network == "host" else "private",
            mounts=plan.mounts_of(ground.layout, guest.id, step),
            bridges=await ground.networks.bridges(guest),
            mtus=await ground.networks.mtus(guest),
            files=await ground.networks.files(guest, hostname=step.hostname),
            idle=step.isolation is not Isolation.CONTAINER,
            given=plan.given_of(step),
            variables=plan.variables_of(ground.layout, guest.id, step),
        )

    async def _forget(self, guest_id: str) -> None:
        try:
            await insist(self._ground.helper, ForgetGuest(id=guest_id))
        finally:
            self._alive.discard(guest_id)


def _what(step: RunStep) -> str:
    return f"the step {step.name}" if step.name else "the step"


def _failed(step: RunStep, ending: Exit, guest: str) -> StepFailed:
    text = f"{_what(step)} ended with exit code {ending.code}"
    if ending.oom_killed:
        text += ": it needed more memory than it may have"
    elif ending.signal:
        text += f": it was killed by signal {ending.signal}"
    return StepFailed(text, exit_code=ending.code, guest=guest)


def _no_such_step(guest: str) -> NotFound:
    return NotFound(
        f"there is no failed step {short(guest)!r}",
        hint="a failed step is kept until somebody has looked into it",
        code="build.no-step",
    )
