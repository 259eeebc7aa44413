"""Verbs of the governor: what guests may have from one tick to the next."""

from __future__ import annotations

import os
from collections.abc import Sequence

from wirt.errors import Conflict, Unsupported
from wirt.linux import disks, pressure, procfs
from wirt.privileged import check, governing, swap
from wirt.privileged.context import Context, Outcome, Sent, on
from wirt.privileged.faults import fault
from wirt.privileged.holds import Governed, Held, SwapDevice
from wirt.privileged.protocol import (
    Done,
    Govern,
    SetPool,
    SetSwap,
    Squeeze,
    WatchMemory,
    WatchTraffic,
)

Fds = Sequence[int]


def govern(ctx: Context, verb: Govern, _fds: Fds) -> Governed:
    """The safe plan first: from the first write on it must be known how to undo it."""
    for safe in verb.safe or ():
        check.guest_id(safe.id)
    if ctx.deadman is not None:
        ctx.deadman.beat(verb.safe)
    held: list[Held] = []
    about_disks = any(wanted.disk is not None for wanted in verb.holds)
    devices = disks.under(ctx.layout.on_disks) if about_disks else ()
    for wanted in verb.holds:
        fault("govern.hold")
        path = ctx.layout.cgroup(check.guest_id(wanted.id))
        held.append(governing.hold(ctx.cgroups, path, wanted, disks=devices))
    if any(wanted.floor is not None or wanted.low is not None for wanted in verb.holds):
        fault("govern.promise")
        governing.protect(ctx.cgroups, f"/{ctx.layout.name}")
    return Governed(held=tuple(held))


def squeeze(ctx: Context, verb: Squeeze, _fds: Fds) -> Governed:
    """In a child: swapping out takes as long as it takes."""
    return Governed(
        held=tuple(
            governing.squeeze(ctx.cgroups, ctx.layout.cgroup(check.guest_id(wanted.id)), wanted)
            for wanted in verb.holds
            if wanted.limit is not None
        )
    )


def watch_memory(ctx: Context, verb: WatchMemory, _fds: Fds) -> Outcome[Done]:
    """Tell the daemon when the guest waits, or somebody on the host does."""
    try:
        if not verb.id:
            event = pressure.trigger(procfs.PROC / "pressure" / "memory")
        else:
            event = governing.watch(ctx.cgroups, ctx.layout.cgroup(check.guest_id(verb.id)))
    except OSError as error:
        raise Unsupported(
            f"the kernel tells nothing of it: {os.strerror(error.errno or 0)}",
            code="governor.watch",
        ) from error
    return Sent(answer=Done(), fds=(event,))


def watch_traffic(ctx: Context, verb: WatchTraffic, _fds: Fds) -> Outcome[Done]:
    """Wake a guest that will sleep, or has been woken."""
    guest_id = check.guest_id(verb.id)
    if ctx.sleepers is None:
        raise Unsupported("this helper listens to no traffic")
    if not verb.on:
        ctx.sleepers.ignore(guest_id)
        return Done()
    return Sent(answer=Done(), fds=(ctx.sleepers.watch(guest_id, typed=verb.typed),))


def set_pool(ctx: Context, verb: SetPool, _fds: Fds) -> Done:
    """Limit the instance's own group."""
    path = f"/{ctx.layout.name}"
    try:
        governing.bound(ctx.cgroups, path, cpu_millis=verb.cpu_millis, memory=verb.memory)
    except OSError as error:
        raise Conflict(
            f"the guests cannot be limited to this pool: {os.strerror(error.errno or 0)}",
            hint="they hold more already: stop some of them first",
            code="governor.pool",
        ) from error
    return Done()


def set_swap(ctx: Context, verb: SetSwap, _fds: Fds) -> SwapDevice:
    """In a child: what is swapped out must come back first."""
    return SwapDevice(number=swap.provide(ctx.layout, verb.size))


HANDLERS = (
    on(Govern, govern),
    on(Squeeze, squeeze),
    on(WatchMemory, watch_memory),
    on(WatchTraffic, watch_traffic),
    on(SetPool, set_pool),
    on(SetSwap, set_swap),
)
