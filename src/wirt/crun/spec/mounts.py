"""The ``mounts`` list: kernel file systems, the guest's own files, volumes, binds and tmpfs.

Order matters: a mount on ``/a`` must come before one on ``/a/b``, or it would hide it. Targets
are resolved inside the container's root by crun, so a link in the image cannot lead out; what a
target may be *called* is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from wirt.crun.spec.process import Json, clean
from wirt.errors import Invalid

DEFAULT_SHM = 64 * 1024 * 1024
"""Bytes of ``/dev/shm``, as docker's."""

INIT_TARGET = "/sbin/wirt-init"
STARTER_TARGET = "/dev/.wirt-start"
VARIABLES_TARGET = "/dev/.wirt-variables"
"""Where a process that is given variables apart finds its starter, and them."""

_PROPAGATION = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_TMPFS_FLAGS = frozenset(
    {
        "ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "dirsync",
        "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime",
        "nostrictatime",
    }
)  # fmt: skip
_TMPFS_VALUE = re.compile(
    r"(?:size=[0-9]{1,18}[kmgKMG%]?|mode=[0-7]{3,4}|[ug]id=[0-9]{1,10}"
    r"|nr_(?:inodes|blocks)=[0-9]{1,18}[kmgKMG]?)",
    re.ASCII,
)
_OPPOSITE = {
    "exec": "noexec", "suid": "nosuid", "dev": "nodev", "rw": "ro",
    "noexec": "exec", "nosuid": "suid", "nodev": "dev", "ro": "rw",
}  # fmt: skip


def check_target(target: str) -> None:
    """Raise :class:`Invalid` for a place where nothing may be mounted."""
    if not target.startswith("/") or "\0" in target or len(target) > 4095:
        raise Invalid(
            f"invalid mount target {target[:100]!r}", hint="write an absolute path, as /data"
        )
    if ".." in target.split("/"):
        raise Invalid(
            f"mount target {target[:100]!r} has '..' in it", hint="write the path without '..'"
        )
    place = clean(target)
    if place == "/":
        raise Invalid("nothing can be mounted on '/'", hint="mount on a directory below it")
    if place == "/proc" or place.startswith("/proc/"):
        raise Invalid(
            f"nothing can be mounted on {target[:100]!r}", hint="/proc belongs to the kernel"
        )


def check_tmpfs(options: Iterable[str], *, size: int | None, mode: int | None) -> None:
    """Raise :class:`Invalid` for an option of ``--tmpfs`` that is not one of tmpfs(5).

    ``size``: bytes; ``mode``: permission bits.
    """
    if size is not None and not 0 < size <= 2**62:
        raise Invalid(f"a tmpfs of {size} bytes is out of range", hint="write a size as 64m")
    if mode is not None and not 0 <= mode <= 0o7777:
        raise Invalid(f"the tmpfs mode {mode:o} is out of range", hint="write a mode as 1777")
    for option in options:
        if option not in _TMPFS_FLAGS and not _TMPFS_VALUE.fullmatch(option):
            raise Invalid(
                f"unknown tmpfs option {option[:60]!r}",
                hint="known are size=, mode=, uid=, gid=, nr_inodes=, ro, noexec and the like",
            )


def check_propagation(text: str) -> None:
    """Raise :class:`Invalid` for an unknown kind of mount propagation."""
    if text not in _PROPAGATION:
        raise Invalid(
            f"unknown propagation {text[:40]!r}",
            hint=f"known are {', '.join(sorted(_PROPAGATION))}",
        )


def kernel_mounts(*, shm_size: int, cgroup_namespace: bool = True) -> list[Json]:
    """What every container has: proc, dev, devpts, sysfs, cgroup, mqueue, shm."""
    quiet = ["nosuid", "noexec", "nodev"]
    mounts: list[Json] = [
        _mount("/proc", "proc", "proc", quiet),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/sys", "sysfs", "sysfs", [*quiet, "ro"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", quiet),
        _mount("/dev/shm", "tmpfs", "shm", [*quiet, "mode=1777", f"size={shm_size}"]),  # noqa: S108
    ]
    if cgroup_namespace:
        mounts.insert(4, _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*quiet, "ro", "relatime"]))
    return mounts


def file_mount(target: str, source: str, *, read_only: bool = False) -> Json:
    """A single file of the host over one of the container."""
    options = ["bind", "rprivate", "nosuid", "nodev", "noexec"]
    return _mount(target, "bind", source, [*options, "ro"] if read_only else options)


def program_mount(target: str, source: str) -> Json:
    """A read-only program of the host's over (or beside) the container's."""
    return _mount(target, "bind", source, ["bind", "rprivate", "ro", "nosuid", "nodev"])


def bind_mount(
    target: str, source: str, *, read_only: bool, propagation: str, recursive: bool = True
) -> Json:
    """A directory or file of the host: volumes and ``-v``.

    Read-only also holds for mounts below it (mount_setattr(2), Linux 5.12) as long as the mount
    is private; else the flag could reach back to the host's peers. ``recursive`` is for
    directories only: crun takes what is to be read-only recursively for one.
    """
    options = ["rbind", propagation]
    if read_only:
        options.append("ro")
        if recursive and propagation in {"private", "rprivate"}:
            options.append("rro")
    return _mount(target, "bind", source, options)


def tmpfs_mount(
    target: str,
    *,
    size: int | None,
    mode: int | None,
    options: Sequence[str],
    read_only: bool,
) -> Json:
    """``--tmpfs``: noexec, nosuid and nodev unless told otherwise, as docker's."""
    chosen: list[str] = ["noexec", "nosuid", "nodev"]
    for option in options:
        chosen = [one for one in chosen if one not in {option, _OPPOSITE.get(option)}]
        chosen.append(option)
    if size is not None:
        chosen.append(f"size={size}")
    if mode is not None:
        chosen.append(f"mode={mode:o}")
    if read_only and "ro" not in chosen:
        chosen.append("ro")
    return _mount(target, "tmpfs", "tmpfs", [*chosen, "rprivate"])


def ordered(kernel: Sequence[Json], own: Sequence[Json], wished: Sequence[Json]) -> list[Json]:
    """All mounts, parents first.

    A wish replaces what stands on its place, and those of ``kernel`` below it: who mounts ``/dev``
    gets what lies there. ``own`` files stay visible inside a wished parent such as ``/etc``.
    """
    taken = [clean(str(mount["destination"])) for mount in wished]
    kept = [
        mount
        for mount in kernel
        if not any(f"{mount['destination']}/".startswith(f"{place}/") for place in taken)
    ]
    rest = [mount for mount in own if clean(str(mount["destination"])) not in taken]
    return kept + sorted(
        [*rest, *wished], key=lambda mount: clean(str(mount["destination"])).count("/")
    )


def _mount(destination: str, kind: str, source: str, options: list[str]) -> Json:
    return {"destination": destination, "type": kind, "source": source, "options": options}
