"""A guest's private user namespace: made, mapped, and applied to its layers.

A process cannot make one for itself without losing its rights over the host, so a helper child
makes it, is mapped from outside, and ends when the namespaces are held by descriptors here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wirt.errors import Invalid
from wirt.linux import libc

IDS = 65_536
MAX_FIRST = 2**31 - IDS


@dataclass(frozen=True, slots=True, kw_only=True)
class UserNamespace:
    """Descriptors of a user namespace and, when asked for, of a network namespace it owns."""

    user: int
    network: int | None


def make(first: int, *, network: bool) -> UserNamespace:
    """A user namespace whose ids 0..65535 are ``first`` and following on the host.

    Raises Invalid for a range that holds the host's own users or ends beyond 2^31.
    """
    if not IDS <= first <= MAX_FIRST:
        raise Invalid(f"user namespace at host id {first} is not in {IDS}..{MAX_FIRST}")
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        _hold(tell, network=network)
    os.close(tell)
    try:
        if os.read(ready, 1) != b"1":
            raise OSError(os.waitpid(pid, 0)[1] >> 8, "unshare: cannot make a user namespace")
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 {first} {IDS}")
        flags = os.O_RDONLY | os.O_CLOEXEC
        user = os.open(f"/proc/{pid}/ns/user", flags)
        net = os.open(f"/proc/{pid}/ns/net", flags) if network else None
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    finally:
        os.close(ready)
    return UserNamespace(user=user, network=net)


def _hold(tell: int, *, network: bool) -> None:
    """In the child: be the first process of the namespaces until killed."""
    status = 1
    try:
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.unshare(libc.CLONE_NEWUSER | (libc.CLONE_NEWNET if network else 0))
        os.write(tell, b"1")
        while True:
            signal.pause()
    except OSError as error:
        status = error.errno or 1
    finally:
        os._exit(status)


def pin(descriptor: int, path: Path) -> None:
    """Bind a namespace to a file of this private mount namespace, so that crun can join it."""
    path.touch(mode=0o600)
    libc.mount(f"/proc/self/fd/{descriptor}", path, flags=libc.MS_BIND)


def map_layers(layers: Sequence[Path], userns: int, below: Path) -> list[Path]:
    """Copies of the layers' mounts at ``below/0``..., owned as the user namespace sees them.

    Files of uid 0 on disk are its root's. Raises OSError where the file system cannot do that.
    """
    mapped: list[Path] = []
    for number, layer in enumerate(layers):
        place = below / str(number)
        place.mkdir()
        tree = libc.open_tree(layer, libc.OPEN_TREE_CLONE)
        try:
            libc.mount_setattr(
                tree, attr_set=libc.MOUNT_ATTR_IDMAP, userns_fd=userns, recursive=False
            )
            libc.move_mount(tree, place)
        finally:
            os.close(tree)
        mapped.append(place)
    return mapped


def unmap_layers(mapped: Sequence[Path]) -> None:
    """Take the copies away again; an overlay made of them keeps its own."""
    for place in mapped:
        libc.umount2(place, libc.MNT_DETACH)
        place.rmdir()
