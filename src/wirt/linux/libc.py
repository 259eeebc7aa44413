"""The ctypes door: kernel calls that Python 3.11 does not offer.

Every failure is an OSError with errno, the call's name and the path it was about. Nothing here
decides anything, and nothing is caught. Flag names are the kernel's (``linux/mount.h``,
``linux/sched.h``, ``linux/openat2.h``, ``linux/prctl.h``).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

PathLike = str | bytes | os.PathLike[str]

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 4
MOUNT_ATTR_RDONLY = 0x00000001
MOUNT_ATTR_IDMAP = 0x00100000

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
PR_SET_PDEATHSIG = 1
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

# Calls above 423 have one number on every architecture (man syscalls(2)).
_OPEN_TREE, _MOVE_MOUNT, _CLOSE_RANGE, _OPENAT2, _MOUNT_SETATTR = 428, 429, 436, 437, 442
_PIVOT_ROOT = {"x86_64": 155}.get(platform.machine(), 41)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _failed(call: str, path: PathLike | None) -> OSError:
    number = ctypes.get_errno()
    text = f"{call}: {os.strerror(number)}"
    return OSError(number, text) if path is None else OSError(number, text, os.fspath(path))


def _raw(path: PathLike | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def _check(result: int, call: str, path: PathLike | None = None) -> int:
    if result < 0:
        raise _failed(call, path)
    return result


def _syscall(call: str, number: int, *args: object, path: PathLike | None = None) -> int:
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    return int(_check(_libc.syscall(ctypes.c_long(number), *wide), call, path))


# --- mounts and namespaces --------------------------------------------------------------------


def mount(
    source: PathLike | None,
    target: PathLike,
    kind: str | None = None,
    *,
    flags: int = 0,
    data: str | None = None,
) -> None:
    """mount(2). ``data`` holds at most one page; longer is EINVAL."""
    _check(
        _libc.mount(
            _raw(source), _raw(target), _raw(kind), ctypes.c_ulong(flags), _raw(data)
        ),
        "mount",
        target,
    )  # fmt: skip


def umount2(target: PathLike, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(_raw(target), flags), "umount2", target)


def swapon(path: PathLike, flags: int) -> None:
    """swapon(2). ``flags``: SWAP_FLAG_PREFER and a priority (``linux/swap.h``)."""
    _check(_libc.swapon(_raw(path), flags), "swapon", path)


def swapoff(path: PathLike) -> None:
    """swapoff(2); returns when all is back in memory."""
    _check(_libc.swapoff(_raw(path)), "swapoff", path)


def unshare(flags: int) -> None:
    """unshare(2): give the calling thread new namespaces."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int = 0) -> None:
    """setns(2): enter the namespace behind a descriptor (a /proc/PID/ns file, or a pidfd)."""
    _check(_libc.setns(fd, kind), "setns")


def pivot_root(new_root: PathLike, put_old: PathLike) -> None:
    """pivot_root(2)."""
    _syscall("pivot_root", _PIVOT_ROOT, _raw(new_root), _raw(put_old), path=new_root)


def open_tree(path: PathLike, flags: int, *, dir_fd: int = AT_FDCWD) -> int:
    """open_tree(2): a descriptor of a mount; with OPEN_TREE_CLONE of a detached copy."""
    flags |= OPEN_TREE_CLOEXEC
    return _syscall("open_tree", _OPEN_TREE, dir_fd, _raw(path), flags, path=path)


def move_mount(mount_fd: int, target: PathLike) -> None:
    """move_mount(2): attach a detached mount at ``target``."""
    _syscall(
        "move_mount", _MOVE_MOUNT, mount_fd, b"", AT_FDCWD, _raw(target), MOVE_MOUNT_F_EMPTY_PATH,
        path=target,
    )  # fmt: skip


def mount_setattr(
    mount_fd: int, *, attr_set: int = 0, attr_clear: int = 0, userns_fd: int = 0, recursive: bool
) -> None:
    """mount_setattr(2) on a detached mount; ``userns_fd`` is for MOUNT_ATTR_IDMAP."""
    attr = struct.pack("=QQQQ", attr_set, attr_clear, 0, userns_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _syscall("mount_setattr", _MOUNT_SETATTR, mount_fd, b"", flags, attr, len(attr))


# --- files ------------------------------------------------------------------------------------


def openat2(
    dir_fd: int, path: PathLike, flags: int, *, mode: int = 0, resolve: int = RESOLVE_IN_ROOT
) -> int:
    """openat2(2), close-on-exec. By default ``dir_fd`` is "/" for the whole look-up, so that
    neither ``..`` nor an absolute symlink leads out of it.

    With RESOLVE_IN_ROOT the kernel may answer EAGAIN when something was renamed meanwhile; it is
    asked again a few times.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(32):
        try:
            return _syscall("openat2", _OPENAT2, dir_fd, _raw(path), how, len(how), path=path)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
    raise OSError(errno.EAGAIN, "openat2: renamed again and again", os.fspath(path))


def syncfs(fd: int) -> None:
    """syncfs(2): write everything of the file system that ``fd`` is on to the disk."""
    _check(_libc.syncfs(fd), "syncfs")


def close_range(first: int, last: int) -> None:
    """close_range(2): close all descriptors from ``first`` to ``last``, both included."""
    _syscall("close_range", _CLOSE_RANGE, first, last, 0)


def close_except(keep: tuple[int, ...]) -> None:
    """Close every descriptor above 2 but these."""
    start = 3
    for fd in sorted({fd for fd in keep if fd > 2}):
        if fd > start:
            close_range(start, fd - 1)
        start = fd + 1
    close_range(start, 0x7FFFFFFF)


# --- processes and capabilities ---------------------------------------------------------------


def set_seccomp(code: bytes) -> None:
    """prctl(2), PR_SET_SECCOMP: put this thread under a filter (8 bytes an instruction), for good.
    It needs no_new_privs, or CAP_SYS_ADMIN."""
    instructions = ctypes.create_string_buffer(code, len(code))
    address = ctypes.addressof(instructions)
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, address))
    pointer = ctypes.c_ulong(ctypes.addressof(program))
    mode = ctypes.c_ulong(_SECCOMP_MODE_FILTER)
    _check(_libc.prctl(_PR_SET_SECCOMP, mode, pointer, 0, 0), "prctl")


def prctl(option: int, second: int = 0, third: int = 0) -> int:
    """prctl(2)."""
    args = (ctypes.c_ulong(a) for a in (second, third, 0, 0))
    return _check(_libc.prctl(option, *args), "prctl")


def capget() -> tuple[int, int, int]:
    """Effective, permitted and inheritable capabilities of this thread as bit sets."""
    header = struct.pack("=Ii", 0x20080522, 0)
    data = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, data), "capget")
    low = struct.unpack("=6I", data.raw)
    return low[0] | low[3] << 32, low[1] | low[4] << 32, low[2] | low[5] << 32


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) for this thread."""
    header = struct.pack("=Ii", 0x20080522, 0)
    sets = (effective, permitted, inheritable)
    data = struct.pack("=6I", *(s & 0xFFFFFFFF for s in sets), *(s >> 32 for s in sets))
    _check(_libc.capset(header, data), "capset")


def bounding_set() -> int:
    """The capabilities that this process and its children can ever have, as a bit set."""
    found = 0
    for number in range(64):
        try:
            found |= prctl(PR_CAPBSET_READ, number) << number
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            break
    return found


def keep_capabilities(kept: int) -> None:
    """Drop everything but the bit set ``kept`` from all sets, for good.

    Capabilities outside of what the process has are not gained.
    """
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    bound = bounding_set()
    for number in range(64):
        if bound >> number & 1 and not kept >> number & 1:
            prctl(PR_CAPBSET_DROP, number)
    effective, permitted, _ = capget()
    capset(effective & kept, permitted & kept, 0)


# --- inotify ----------------------------------------------------------------------------------


def inotify_init1(flags: int) -> int:
    """inotify_init1(2)."""
    return _check(_libc.inotify_init1(flags), "inotify_init1")


def inotify_add_watch(fd: int, path: PathLike, mask: int) -> int:
    """inotify_add_watch(2)."""
    mask_ = ctypes.c_uint32(mask)
    return _check(_libc.inotify_add_watch(fd, _raw(path), mask_), "inotify_add_watch", path)


def inotify_rm_watch(fd: int, watch: int) -> None:
    """inotify_rm_watch(2)."""
    _check(_libc.inotify_rm_watch(fd, watch), "inotify_rm_watch")


# --- timers -----------------------------------------------------------------------------------

_TFD_NONBLOCK, _TFD_CLOEXEC = 0o4000, 0o2000000
_CLOCK_MONOTONIC = 1


def timerfd_create() -> int:
    """timerfd_create(2): a descriptor that becomes readable when its time has come."""
    return int(
        _check(
            _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC), "timerfd_create"
        )
    )


def timerfd_settime(fd: int, seconds: float) -> None:
    """timerfd_settime(2): once, in so many seconds; 0 stops it."""
    whole = int(seconds)
    value = (ctypes.c_long * 4)(0, 0, whole, int((seconds - whole) * 1e9))
    _check(_libc.timerfd_settime(fd, 0, ctypes.byref(value), None), "timerfd_settime")
