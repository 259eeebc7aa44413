"""Ending what exists only while a guest runs. Everything here can be repeated at any time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from wirt.errors import Conflict
from wirt.linux import pidfd
from wirt.privileged import facts, links, netstate, publish
from wirt.privileged.context import Context
from wirt.privileged.faults import fault
from wirt.privileged.netlink import Netlink
from wirt.privileged.remove import remove_tree

_KEEPER_SECONDS = 5.0


def kill(ctx: Context, guest_id: str, *, keeper: bool) -> None:
    """SIGKILL everything in the guest's cgroup, and with ``keeper`` that too; wait for their end.

    The keeper goes first when it is to go: it could start something meanwhile. Raises Conflict
    when something cannot be killed (it waits for a device).
    """
    if keeper:
        _kill_keeper(ctx, guest_id)
    _kill_group(ctx, guest_id)


def _kill_group(ctx: Context, guest_id: str) -> None:
    if not ctx.cgroups.kill(ctx.layout.cgroup(guest_id)):
        raise Conflict(
            f"processes of guest {guest_id[:12]} do not end when killed",
            hint="they wait for a device or a network file system; try again later",
            code="guest.stuck",
        )


def _kill_keeper(ctx: Context, guest_id: str) -> None:
    fd = facts.keeper(ctx.layout, guest_id)
    if fd is None:
        return
    try:
        pidfd.send(fd, signal.SIGKILL)
        pidfd.wait(fd, _KEEPER_SECONDS)
    finally:
        os.close(fd)


def release(ctx: Context, guest_id: str) -> None:
    """Remove all of a guest but its state directory. Idempotent.

    The run directory goes last: it says what there is to remove.
    """
    _kill_keeper(ctx, guest_id)
    if not ctx.cgroups.discard(ctx.layout.cgroup(guest_id)):
        _kill_group(ctx, guest_id)
    fault("release.killed")
    publish.unpublish(ctx.layout, guest_id)
    fault("release.unpublished")
    run = ctx.layout.guest_run(guest_id)
    cards = netstate.read(run).cards
    if cards:
        with Netlink() as netlink:
            for card in cards:
                links.delete_link(netlink, name=card.host)
    fault("release.links")
    ctx.cgroups.remove(ctx.layout.cgroup(guest_id))
    fault("release.cgroup")
    remove(ctx.layout.crun_root / guest_id)
    remove(run)


def forget(ctx: Context, guest_id: str) -> None:
    """Release, then delete the guest's state. Idempotent."""
    release(ctx, guest_id)
    fault("forget.released")
    remove(ctx.layout.guest_state(guest_id))


def remove(path: Path) -> bool:
    """Delete a tree; whether it was there."""
    return remove_tree(os.fsencode(path))
