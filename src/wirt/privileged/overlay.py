"""Mounting an overlay of many layers, in a private mount namespace only.

mount(2) takes one page of options, which forty real layer paths would fill. So the layers get
one-character links in a small tmpfs below the mount point, and the kernel resolves those.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from wirt.errors import Invalid
from wirt.linux import libc

MAX_LAYERS = 500
"""Lower directories of one overlay (``OVL_MAX_STACK`` of the kernel)."""

_OPTIONS = "redirect_dir=off,index=off,metacopy=off"


def mount_overlay(
    target: Path,
    layers: Sequence[Path],
    *,
    upper: Path | None = None,
    work: Path | None = None,
    volatile: bool = False,
    flags: int = libc.MS_NODEV | libc.MS_NOSUID,
) -> None:
    """Show ``layers`` (base first) at ``target``, writable when ``upper`` and ``work`` are given.

    ``volatile``: no syncing of copied-up files; for trees that are thrown away after a crash.
    The caller is in a private mount namespace; its working directory becomes "/".
    Raises Invalid for more than :data:`MAX_LAYERS`, OSError from mount(2).
    """
    if len(layers) > MAX_LAYERS:
        raise Invalid(
            f"the image has {len(layers)} layers",
            hint=f"the kernel can stack {MAX_LAYERS}: squash some of them",
            code="image.too-many-layers",
        )
    libc.mount("tmpfs", target, "tmpfs", data="mode=0700")
    os.chdir(target)
    names = []
    for number, layer in enumerate(layers):
        names.append(f"{number:x}")
        Path(names[-1]).symlink_to(layer)
    writable = upper is not None and work is not None
    while len(names) < (1 if writable else 2):  # the kernel's minimum of lower directories
        names.insert(0, f"none{len(names)}")
        Path(names[0]).mkdir()
    data = f"{_OPTIONS},lowerdir={':'.join(reversed(names))}"
    if upper is not None and work is not None:
        Path("upper").symlink_to(upper)
        Path("work").symlink_to(work)
        data += ",upperdir=upper,workdir=work" + (",volatile" if volatile else "")
    libc.mount("overlay", target, "overlay", flags=flags, data=data)
    os.chdir("/")


def private_mounts() -> None:
    """Give this process its own mount namespace, from which nothing reaches the host's."""
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount(None, "/", flags=libc.MS_REC | libc.MS_PRIVATE)


def pivot_into(root: Path) -> None:
    """Make the mount at ``root`` the only thing that this mount namespace shows."""
    os.chdir(root)
    libc.pivot_root(".", ".")
    libc.umount2(".", libc.MNT_DETACH)
    os.chdir("/")
