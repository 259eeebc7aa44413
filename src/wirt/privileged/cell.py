"""The file system that a machine's QEMU sees: programs and libraries, nothing that is anybody's.

Whoever breaks out of a machine has QEMU's eyes. Without this they would see what every user of the
host may read: names, configuration, homes, the sockets in ``/run``. Here is a read-only ``/usr``,
the devices that QEMU opens, and of ``/proc`` its own processes. Made in the launch child, in its
private mount namespace; ``wirt-jail`` changes the root to it.
"""

from __future__ import annotations

from pathlib import Path

from wirt.linux import libc
from wirt.privileged.shares import bind

DEVICES = ("null", "urandom")
LIBRARIES = ("lib", "lib32", "lib64", "libx32")
"""Links into ``/usr`` where that is merged (usrmerge), directories elsewhere."""


def make(place: Path, *, kvm: bool) -> Path:
    """Make the tree at ``place``, a new directory; with /dev/kvm when ``kvm``."""
    place.mkdir(mode=0o755)
    libc.mount("tmpfs", place, "tmpfs", flags=libc.MS_NOSUID, data="size=64k,mode=0755")
    for name in ("usr", *LIBRARIES):
        _library(Path("/", name), place / name)
    (place / "etc").mkdir(mode=0o755)
    cache = Path("/etc/ld.so.cache")
    if cache.exists():
        _bind_file(cache, place / "etc" / cache.name, read_only=True)
    (place / "dev").mkdir(mode=0o755)
    for name in (*DEVICES, *(("kvm",) if kvm else ())):
        _bind_file(Path("/dev", name), place / "dev" / name, read_only=False)
    _proc(place / "proc")
    flags = libc.MS_REMOUNT | libc.MS_BIND | libc.MS_RDONLY | libc.MS_NOSUID
    libc.mount(None, place, flags=flags)
    return place


def _library(source: Path, target: Path) -> None:
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir(mode=0o755)
        bind(source, target, read_only=True)


def _bind_file(source: Path, target: Path, *, read_only: bool) -> None:
    target.touch(mode=0o644)
    bind(source, target, read_only=read_only)


def _proc(target: Path) -> None:
    """Nothing of other users' processes and of the kernel's settings (proc(5))."""
    target.mkdir(mode=0o555)
    flags = libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC
    libc.mount("proc", target, "proc", flags=flags, data="hidepid=invisible,subset=pid")
