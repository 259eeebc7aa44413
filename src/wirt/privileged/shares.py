"""Folders that a machine shares with the host: one virtiofsd for each.

virtiofsd runs as root, since it must give every file its right owner, but sees nothing except the
shared folder (it pivots into it in namespaces of its own). What is read-only is so by a mount here,
which no guest can change; so is the directory around a single object that is shared. Runs in the
launch child, inside its private mount namespace.
"""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from wirt.errors import Invalid, NotFound, Unsupported
from wirt.linux import libc
from wirt.privileged import check
from wirt.privileged.context import Context
from wirt.privileged.fill import fill_volume
from wirt.privileged.overlay import mount_overlay
from wirt.privileged.paths import layer_diffs, volume_path
from wirt.privileged.protocol import MachinePlan, Share

VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
ONLY = "it"
"""The name of what is shared alone, in a directory of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """``argv`` serves it on ``listener``; ``qemu`` is a socket connected to that."""

    argv: tuple[str, ...]
    listener: int
    qemu: int


def prepare(ctx: Context, plan: MachinePlan, guest_id: str) -> tuple[Folder, ...]:
    """Mount each share in the guest's run directory, fill the volumes that are due, and open the
    sockets."""
    run = ctx.layout.guest_run(guest_id)
    if plan.shares and not Path(VIRTIOFSD).exists():
        raise Unsupported(
            "this host has no virtiofsd, so machines cannot share folders",
            hint="apt-get install qemu-system-common, or use a container",
        )
    for fill in plan.fills:
        _fill(ctx, plan, run, volume=fill.volume, target=fill.target)
    return tuple(_folder(ctx, share, guest_id, n) for n, share in enumerate(plan.shares))


def _fill(ctx: Context, plan: MachinePlan, run: Path, *, volume: str, target: str) -> None:
    place = run / "image"
    place.mkdir(mode=0o700, exist_ok=True)
    mount_overlay(place, layer_diffs(ctx.layout, plan.layers))
    root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fill_volume(volume_path(ctx.layout, volume), root, target)
    finally:
        os.close(root)
        libc.umount2(place, libc.MNT_DETACH)
        libc.umount2(place, libc.MNT_DETACH)


def _folder(ctx: Context, share: Share, guest_id: str, number: int) -> Folder:
    place = ctx.layout.guest_run(guest_id) / f"share{number}"
    place.mkdir(mode=0o700)
    if share.prepared is not None:
        source = ctx.layout.step_source(guest_id, share.prepared)
        _alone(source, place, read_only=share.read_only)
    elif share.file:
        _alone(_source(ctx, share), place, read_only=share.read_only)
    else:
        bind(_source(ctx, share), place, read_only=share.read_only)
    listener, client = _sockets()
    argv = (
        *(VIRTIOFSD, f"--fd={listener}", "-f", "--rlimit-nofile=0"),
        *("-o", f"source={place}", "-o", "cache=auto", "-o", "log_level=err"),
        *(() if share.prepared is None else ("-o", "xattr")),
    )
    return Folder(argv=argv, listener=listener, qemu=client)


def _alone(source: Path, place: Path, *, read_only: bool) -> None:
    """Show one object in the directory ``place``, in which nothing else can be made."""
    target = place / ONLY
    if source.is_dir():
        target.mkdir(mode=0o700)
    else:
        target.touch(mode=0o600)
    libc.mount(place, place, flags=libc.MS_BIND)
    bind(source, target, read_only=read_only)
    libc.mount(None, place, flags=libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY)


def _source(ctx: Context, share: Share) -> Path:
    """What is shared; it must be there and of the right kind."""
    if share.volume:
        return volume_path(ctx.layout, share.volume) / "_data"
    path = check.absolute(share.source, "bind source")
    if share.make:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise NotFound(
            f"bind source {share.source[:200]} does not exist", code="mount.source"
        ) from None
    if share.file and not stat.S_ISREG(mode):
        raise Invalid(
            f"bind source {share.source[:200]} is not a regular file",
            hint="a machine can be given files and directories; use --as container",
        )
    if not share.file and not stat.S_ISDIR(mode):
        raise Invalid(f"bind source {share.source[:200]} is not a directory")
    return path


def bind(source: Path, target: Path, *, read_only: bool) -> None:
    """Show a tree or a file of the host, with what is mounted in it, at ``target``."""
    tree = libc.open_tree(source, libc.OPEN_TREE_CLONE | libc.AT_RECURSIVE)
    try:
        if read_only:
            libc.mount_setattr(tree, attr_set=libc.MOUNT_ATTR_RDONLY, recursive=True)
        libc.move_mount(tree, target)
    finally:
        os.close(tree)


def _sockets() -> tuple[int, int]:
    """A listening socket and one that is connected to it.

    The kernel gives the name: an abstract one, known in this guest's network namespace only.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("")
    listener.listen(1)
    client.connect(listener.getsockname())
    return listener.detach(), client.detach()
