"""The simulated host's disk: a file system whose device does so many reads a second and no more.

``qemu-storage-daemon`` throttles a sparse file and shows it through FUSE, a loop device makes it a
disk. That is hierarchical where version 1 of control groups is not: its limits of groups do not
bound what lies below them.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wirt.linux import spawn

_READY = 10.0


@contextmanager
def disk(place: Path, *, size: int, reads: int, apart: Callable[[], None]) -> Iterator[Path]:
    """A mounted file system of ``size`` bytes (sparse) below ``place``, gone afterwards.

    ``reads``: a second, of any size. ``apart`` runs in the daemon's process before it begins.
    Raises CommandFailed, Unsupported when a program is missing, Timeout.
    """
    raw, shown, pidfile = place / "raw", place / "disk", place / "storage.pid"
    mounted = place / "fs"
    mounted.mkdir()
    shown.touch()
    with raw.open("wb") as file:
        file.truncate(size)
    with contextlib.ExitStack() as undo:
        undo.callback(_end, pidfile)
        spawn.run_sync(_storage(raw, shown, pidfile, reads), before_exec=apart, timeout=_READY)
        loop = spawn.run_sync(["losetup", "--find", "--show", str(shown)]).text.strip()
        undo.callback(spawn.run_sync, ["losetup", "--detach", loop], ok=None)
        options = "nodiscard,lazy_itable_init=1"
        spawn.run_sync(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", options, loop])
        spawn.run_sync(["mount", loop, str(mounted)])
        undo.callback(_unmount, mounted)
        yield mounted


def _storage(raw: Path, shown: Path, pidfile: Path, reads: int) -> list[str]:
    return [
        "qemu-storage-daemon", "--daemonize", "--pidfile", str(pidfile),
        "--object", f"throttle-group,id=cap,limits.iops-read={reads}",
        "--blockdev",
        f"driver=file,node-name=file,filename={raw},cache.direct=on,aio=threads,discard=unmap",
        "--blockdev", "driver=raw,node-name=raw,file=file",
        "--blockdev", "driver=throttle,node-name=host,throttle-group=cap,file=raw",
        "--export",
        f"type=fuse,id=shown,node-name=host,mountpoint={shown},writable=on,allow-other=off",
    ]  # fmt: skip


def _unmount(place: Path) -> None:
    if spawn.run_sync(["umount", str(place)], ok=None).code != 0:
        spawn.run_sync(["umount", "--lazy", str(place)], ok=None)


def _end(pidfile: Path) -> None:
    """End the storage daemon and wait for it: the FUSE mount goes with it."""
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        pid = int(pidfile.read_text())
        gone = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        select.select([gone], [], [], _READY)
        os.close(gone)


_ZRAM = Path("/sys/class/zram-control")


@contextmanager
def swap(place: Path, size: int) -> Iterator[None]:
    """Compressed memory of at most ``size`` bytes as swap, gone afterwards.

    Its number is kept below ``place``. Raises OSError when the kernel has no zram, CommandFailed.
    """
    number = (_ZRAM / "hot_add").read_text().strip()
    device = f"/dev/zram{number}"
    (place / "zram").write_text(number)
    try:
        Path(f"/sys/block/zram{number}/disksize").write_text(str(size))
        spawn.run_sync(["mkswap", device])
        spawn.run_sync(["swapon", "--priority", "100", device])
        yield
    finally:
        _end_swap(place / "zram")


def _end_swap(file: Path) -> None:
    with contextlib.suppress(OSError):
        number = file.read_text()
        spawn.run_sync(["swapoff", f"/dev/zram{number}"], timeout=300, ok=None)
        (_ZRAM / "hot_remove").write_text(number)
        file.unlink()


def remove(place: Path) -> None:
    """Undo what a killed :func:`disk` and :func:`swap` below ``place`` have left."""
    _end_swap(place / "zram")
    _unmount(place / "fs")
    found = spawn.run_sync(["losetup", "--noheadings", "--output", "NAME,BACK-FILE"], ok=None)
    for line in found.text.splitlines():
        name, _, file = line.partition(" ")
        if file.strip().startswith(f"{place}/"):
            spawn.run_sync(["losetup", "--detach", name], ok=None)
    _end(place / "storage.pid")
