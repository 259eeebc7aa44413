"""What a step of a build sees at its mounts, made in the launch child's private namespace.

All of it is on a tmpfs that nobody but the step's processes sees and that ends with them: secrets
touch no disk. Sources inside layers are looked up by the kernel with the layers' tree as "/", on
a mount that only this process has, so neither a link nor a race leads out of it.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from wirt.errors import Invalid
from wirt.linux import libc
from wirt.privileged import caches
from wirt.privileged.context import Context
from wirt.privileged.faults import fault
from wirt.privileged.overlay import mount_overlay
from wirt.privileged.paths import layer_diffs
from wirt.privileged.protocol import StepSource
from wirt.privileged.remove import remove_tree

_FLAGS = libc.MS_NODEV | libc.MS_NOSUID
_SOCKET = re.compile(r"[0-9a-f]{32}\.sock", re.ASCII)


def prepare(ctx: Context, guest_id: str, wanted: tuple[StepSource, ...]) -> None:
    """Make ``<run>/g/<id>/step/0``... Raises Invalid for a source that is not there."""
    if not wanted:
        return
    base = ctx.layout.step_source(guest_id, 0).parent
    base.mkdir(exist_ok=True)
    libc.mount("tmpfs", base, "tmpfs", data="mode=0700")
    for number, one in enumerate(wanted):
        spot = ctx.layout.step_source(guest_id, number)
        if one.secret is not None:
            _secret(one, one.secret, spot)
        elif one.socket:
            _socket(ctx, one, spot)
        elif one.cache:
            _cache(ctx, one, spot)
        else:
            scratch = ctx.layout.guest_state(guest_id) / "step" / str(number)
            _layers(ctx, one, spot, scratch if one.writable else None)
        fault("sources.one")


def give(
    ctx: Context, guest_id: str, wanted: tuple[StepSource, ...], *, uid: int, gid: int
) -> None:
    """Make the step's user, who is known by now, the owner of what is to be his."""
    for number, one in enumerate(wanted):
        if one.own:
            os.chown(ctx.layout.step_source(guest_id, number), uid, gid)


def _secret(one: StepSource, content: bytes, spot: Path) -> None:
    fd = os.open(spot, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(content)
        os.fchown(fd, one.uid, one.gid)
        os.fchmod(fd, one.mode & 0o7777)


def _socket(ctx: Context, one: StepSource, spot: Path) -> None:
    """Show a socket at which the daemon listens; the step's user becomes its owner."""
    if not _SOCKET.fullmatch(one.socket):
        raise Invalid(f"invalid socket name {one.socket[:80]!r}")
    uploads = os.open(ctx.layout.uploads, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    held = os.open(one.socket, os.O_PATH | os.O_NOFOLLOW, dir_fd=uploads)
    os.close(uploads)
    try:
        if not stat.S_ISSOCK(os.fstat(held).st_mode):
            raise Invalid(f"{one.socket} is no socket")
        place = f"/proc/self/fd/{held}"
        os.chown(place, one.uid, one.gid)
        os.chmod(place, one.mode & 0o777)  # noqa: PTH101 - a descriptor
        spot.touch()
        libc.mount(place, spot, flags=libc.MS_BIND)
    finally:
        os.close(held)


def _cache(ctx: Context, one: StepSource, spot: Path) -> None:
    tree = None
    if one.layers and not caches.exists(ctx, one.cache):
        tree = _tree(ctx, one, spot, None)
        _must_be_there(tree, one.source)
    data = caches.ensure(ctx, one, tree)
    spot.mkdir()
    libc.mount(data, spot, flags=libc.MS_BIND)
    libc.mount(None, spot, flags=libc.MS_BIND | libc.MS_REMOUNT | _FLAGS)


def _must_be_there(tree: Path, source: str) -> None:
    root = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = find(root, source)
        is_directory = stat.S_ISDIR(os.fstat(found).st_mode)
        os.close(found)
    finally:
        os.close(root)
    if not is_directory:
        raise Invalid(
            f"the cache cannot be filled from {source[:200]!r}, which is no directory",
            code="build.mount-source",
        )


def _layers(ctx: Context, one: StepSource, spot: Path, scratch: Path | None) -> None:
    tree = _tree(ctx, one, spot, scratch)
    root = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = find(root, one.source)
        try:
            if stat.S_ISDIR(os.fstat(found).st_mode):
                spot.mkdir()
            else:
                spot.touch()
            libc.mount(f"/proc/self/fd/{found}", spot, flags=libc.MS_BIND)
        finally:
            os.close(found)
    finally:
        os.close(root)


def _tree(ctx: Context, one: StepSource, spot: Path, scratch: Path | None) -> Path:
    """The merged layers. ``scratch``: where what is written goes, or None for read-only."""
    tree = spot.with_name(f"tree{spot.name}")
    tree.mkdir()
    layers = layer_diffs(ctx.layout, one.layers)
    if scratch is None:
        mount_overlay(tree, layers, flags=_FLAGS | libc.MS_RDONLY)
        return tree
    upper, work = scratch / "upper", scratch / "work"
    for place in (upper, work):
        place.mkdir(parents=True, exist_ok=True)
    if layers:
        seen = layers[-1].stat()
        os.chown(upper, seen.st_uid, seen.st_gid)
        upper.chmod(stat.S_IMODE(seen.st_mode))
    remove_tree(os.fsencode(work / "work/incompat"))  # a volatile one is not mounted twice
    mount_overlay(tree, layers, upper=upper, work=work, volatile=True, flags=_FLAGS)
    return tree


def find(root: int, source: str) -> int:
    """An O_PATH descriptor of a directory or file, looked up with ``root`` as "/"."""
    resolve = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS
    try:
        found = libc.openat2(root, source or "/", os.O_PATH, resolve=resolve)
    except (FileNotFoundError, NotADirectoryError):
        raise Invalid(
            f"the mount's source {source[:200]!r} is not there",
            hint="it is looked up in what 'from' names, or else in the build's context",
            code="build.mount-source",
        ) from None
    kind = os.fstat(found).st_mode
    if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
        os.close(found)
        raise Invalid(
            f"the mount's source {source[:200]!r} is neither a directory nor a file",
            code="build.mount-source",
        )
    return found
