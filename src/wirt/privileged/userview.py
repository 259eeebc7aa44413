"""What a container in a private user namespace is shown of the host: devices and bind sources.

crun hands the *host's* device nodes to such a container by bind mounts, and chowns ``/dev/null``
to the container's root when that is a standard stream (seen with crun 1.8: the host's node then
belonged to uid 100000). And the container's root cannot walk to ``<state>``, which is closed to
all but us, so a bind from there fails. Both are put right by the launch child, in its private mount
namespace, before crun runs.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import msgspec

from wirt.linux import libc

_NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9),
          ("tty", 5, 0))  # fmt: skip


def cover_dev() -> None:
    """Put a tmpfs with device nodes of this launch's own over ``/dev``.

    Must be called in a private mount namespace; ``/dev/pts`` stays the host's, for terminals
    that are open already.
    """
    libc.mount("/dev/pts", "/mnt", flags=libc.MS_BIND)
    libc.mount("dev", "/dev", "tmpfs", flags=libc.MS_NOSUID | libc.MS_NOEXEC, data="mode=755")
    mask = os.umask(0)
    try:
        for name, major, minor in _NODES:
            os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
    finally:
        os.umask(mask)
    dev = Path("/dev")
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    libc.mount("/mnt", "/dev/pts", flags=libc.MS_MOVE)


def show_binds(config: bytes, directory: Path, *, namespace: int, own: tuple[Path, ...]) -> bytes:
    """Show the sources of all bind mounts of an OCI configuration below ``directory``, a new one.

    Returns the configuration with the new places. Sources below one of ``own`` (the instance's
    state) are mapped by ``namespace`` (a descriptor of a user namespace), so that a file of uid 0
    belongs to the container's root; the host's directories that a user binds keep their owners.
    Needs a private mount namespace.
    """
    value: dict[str, Any] = msgspec.json.decode(config)
    directory.mkdir(mode=0o711)
    libc.mount("binds", directory, "tmpfs", flags=libc.MS_NOEXEC, data="mode=711,size=1m")
    binds = [entry for entry in value.get("mounts", ()) if entry.get("type") == "bind"]
    for number, entry in enumerate(binds):
        place = directory / str(number)
        mapped = any(Path(entry["source"]).is_relative_to(base) for base in own)
        _show(entry["source"], place, namespace if mapped else None)
        entry["source"] = str(place)
    return msgspec.json.encode(value)


def _show(source: str, place: Path, namespace: int | None) -> None:
    if Path(source).is_dir():
        place.mkdir()
    else:
        place.touch()
    tree = libc.open_tree(source, libc.OPEN_TREE_CLONE | libc.AT_RECURSIVE)
    try:
        if namespace is not None:
            _map(tree, namespace)
        libc.move_mount(tree, place)
    finally:
        os.close(tree)


def _map(tree: int, namespace: int) -> None:
    try:
        libc.mount_setattr(
            tree, attr_set=libc.MOUNT_ATTR_IDMAP, userns_fd=namespace, recursive=False
        )
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EPERM}:
            raise
        # A file system without idmapped mounts: its files stay nobody's, as docker's would.
