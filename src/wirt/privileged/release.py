"""Ending what exists only while a guest runs. Everything here can be repeated at any time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from wirt.errors import Conflict
from wirt.linux import pidfd
from wirt.privileged import facts, governing, links, netstate, publish
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


def release(ctx: Context, guest_id: str) -> tuple[int, ...]:
    """Remove all of a guest but its state directory; the numbers of its cards. Idempotent.

    The cards are out of service and only need to be deleted (:func:`unplugged`): nobody has to
    wait for that, and the kernel does it itself when the guest's network namespace ends. The run
    directory goes last: it says what there is to remove.
    """
    _kill_keeper(ctx, guest_id)
    if not ctx.cgroups.discard(ctx.layout.cgroup(guest_id)):
        _kill_group(ctx, guest_id)
    fault("release.killed")
    publish.unpublish(ctx.layout, guest_id)
    fault("release.unpublished")
    run = ctx.layout.guest_run(guest_id)
    cards = netstate.read(run).cards
    with Netlink() as netlink:
        found = [links.unplug(netlink, name=card.host) for card in cards]
    fault("release.links")
    ctx.cgroups.remove(ctx.layout.cgroup(guest_id))
    governing.protect(ctx.cgroups, f"/{ctx.layout.name}")
    fault("release.cgroup")
    remove(ctx.layout.crun_root / guest_id)
    remove(run)
    return tuple(index for index in found if index is not None)


def unplugged(cards: Iterable[int]) -> None:
    """Delete cards of a guest that was released."""
    with Netlink() as netlink:
        for index in cards:
            links.delete_unplugged(netlink, index=index)


def release_wholly(ctx: Context, guest_id: str) -> None:
    """Release and wait until the cards are deleted too."""
    unplugged(release(ctx, guest_id))


def forget(ctx: Context, guest_id: str) -> tuple[int, ...]:
    """Release, then put the guest's state out of the way; :func:`clear` deletes it. Idempotent."""
    cards = release(ctx, guest_id)
    fault("forget.released")
    clear(ctx, guest_id)  # what was left there by a crash; most often nothing
    with contextlib.suppress(FileNotFoundError):
        ctx.layout.guest_state(guest_id).rename(ctx.layout.gone / guest_id)
    fault("forget.gone")
    return cards


def clear(ctx: Context, guest_id: str) -> bool:
    """Delete the state of a forgotten guest; False when there is none or another one does it."""
    place = ctx.layout.gone / guest_id
    try:
        lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return remove(place)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)


def remove(path: Path) -> bool:
    """Delete a tree; whether it was there."""
    return remove_tree(os.fsencode(path))
