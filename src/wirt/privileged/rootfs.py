"""A container's root: mounted inside the launch child's private mount namespace, and judged.

An image is hostile. The engine mounts over ``/dev``, ``/proc``, ``/sys`` and the managed files;
if those were links or something odd, it would mount elsewhere (CVE-2021-30465, CVE-2025-31133 and
their relatives), so such a root is refused before the engine sees it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from wirt.errors import Invalid
from wirt.linux import libc
from wirt.privileged import userns
from wirt.privileged.context import Context
from wirt.privileged.overlay import mount_overlay
from wirt.privileged.paths import layer_diffs
from wirt.privileged.protocol import Overlay
from wirt.privileged.remove import remove_tree
from wirt.privileged.stubs import Point, Stubs
from wirt.privileged.userns import UserNamespace

_KERNEL_PLACES = ("dev", "proc", "sys")
_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW


def mount(
    ctx: Context,
    guest_id: str,
    overlay: Overlay,
    user: UserNamespace | None,
    wanted: Sequence[Point] = (),
) -> Path:
    """Mount the guest's overlay at ``<run>/g/<id>/root``; that path.

    ``wanted``: mount points that must be there. The caller is in its private mount namespace.
    Raises NotFound for a missing layer.
    """
    run = ctx.layout.guest_run(guest_id)
    state = ctx.layout.guest_state(guest_id)
    root = run / "root"
    for place in (root, run / "stubs"):
        place.mkdir(exist_ok=True)
    layers = layer_diffs(ctx.layout, overlay.layers)
    stubs = Stubs(root, run / "stubs", owner=overlay.idmap or 0)
    make_upper(state, layers, overlay.idmap or 0)
    if user is None:
        _stack(state, layers, stubs, wanted, volatile=overlay.volatile)
        return root
    below = run / "layers"
    below.mkdir(exist_ok=True)
    mapped = userns.map_layers(layers, user.user, below)
    try:
        _stack(state, mapped, stubs, wanted, volatile=overlay.volatile)
    finally:
        os.chdir("/")
        userns.unmap_layers(mapped)
    return root


def _stack(
    state: Path, layers: list[Path], stubs: Stubs, wanted: Sequence[Point], *, volatile: bool
) -> None:
    """The overlay, with a layer of missing mount points below the writable one.

    What is missing is looked for in a stack that cannot be written to, and that stays where it
    is, below the other: to unmount one is to wait for the kernel, and a writable one is synced
    with the whole disk below it.
    """
    upper, work = state / "upper", state / "work"
    mount_overlay(stubs.root, [*layers, upper], flags=libc.MS_RDONLY)
    below = [*layers, stubs.place] if stubs.make(wanted) else layers
    remove_tree(os.fsencode(work / "work/incompat"))  # a volatile one is not mounted twice
    mount_overlay(stubs.root, below, upper=upper, work=work, volatile=volatile, flags=0)


def make_upper(state: Path, layers: list[Path], first: int) -> None:
    """The guest's own layer; ``/`` gets the owner and mode that the topmost layer gives it."""
    work = state / "work"
    work.mkdir(mode=0o700, exist_ok=True)
    os.chown(work, first, first)
    if (state / "upper").exists():
        return
    new = state / ".upper.new"
    new.mkdir(exist_ok=True)
    mode, uid, gid = 0o755, 0, 0
    if layers:
        seen = layers[-1].stat()
        mode, uid, gid = stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid
    os.chown(new, first + uid, first + gid)
    new.chmod(mode)
    new.rename(state / "upper")


def judge(root: int, files: tuple[str, ...]) -> None:
    """Refuse a root in which the engine's mounts would not land where they are meant to.

    ``root``: its descriptor; ``files``: managed files that will be mounted below ``/etc``.
    Raises Invalid naming the path.
    """
    for place in _KERNEL_PLACES:
        kind = _kind(root, place)
        if kind is not None and not stat.S_ISDIR(kind):
            raise _refused(place, kind)
    for name in files:
        _judge_file(root, f"etc/{name}")


def _judge_file(root: int, place: str) -> None:
    """Missing is fine, and so is a regular file, behind a link too while that stays inside."""
    try:
        fd = libc.openat2(
            root, place, os.O_PATH, resolve=libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS
        )
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise _refused(place, _kind(root, place) or stat.S_IFLNK) from error
        raise
    try:
        kind = os.fstat(fd).st_mode
    finally:
        os.close(fd)
    if not stat.S_ISREG(kind):
        raise _refused(place, kind)


def _kind(root: int, place: str) -> int | None:
    """The type of an entry that is not followed; None when there is none."""
    try:
        fd = libc.openat2(root, place, _PATH_ONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            return stat.S_IFREG
        raise
    try:
        return os.fstat(fd).st_mode
    finally:
        os.close(fd)


def _refused(place: str, kind: int) -> Invalid:
    what = {
        stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe",
        stat.S_IFREG: "a file", stat.S_IFSOCK: "a socket",
    }.get(stat.S_IFMT(kind), "a device")  # fmt: skip
    return Invalid(
        f"the image's /{place} is {what}",
        hint="a container cannot be started safely from such an image",
        code="image.hostile",
    )
