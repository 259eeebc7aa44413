"""What makes a launch a machine's: its disks, its shared folders, QEMU and what that inherits.

Runs in the launch child, inside its private mount namespace; see :mod:`wirt.privileged.launch`.
QEMU runs as a user of the guest's own, who may open nothing that others may not: every file and
socket it needs is opened here and handed over as a descriptor.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from wirt.errors import Exhausted, Invalid, NotFound, Unavailable, Unsupported
from wirt.linux import limits, spawn
from wirt.privileged import cell, facts, shares, sources
from wirt.privileged.context import Context
from wirt.privileged.faults import fault
from wirt.privileged.paths import disk_path
from wirt.privileged.program import Program
from wirt.privileged.protocol import LaunchGuest, MachinePlan

QEMU = "/usr/bin/qemu-system-x86_64"
FIRST_UID = 1 << 25
MIN_DISK = 16 << 20
MAX_DISK = 1 << 44
_PLACE = re.compile(r"\{([a-z]+[0-9]*)\}")


def uid_of(guest_id: str) -> int:
    """The user and group as whom a guest's QEMU runs, derived from its id.

    From 33,554,432 up to the ids of containers' private user namespaces.
    """
    return FIRST_UID + int(guest_id[:12], 16) % FIRST_UID


def prepare(ctx: Context, verb: LaunchGuest, taps: Sequence[int]) -> Program:
    """Make everything; what the keeper is to run. ``taps``: one for each of the plan's links."""
    plan = verb.machine
    assert plan is not None
    if ctx.guest_dir is None:
        raise Unavailable(
            "the helper knows no guest kernel",
            hint="start it with --guest-dir",
            code="machine.kernel",
        )
    uid = uid_of(verb.id)
    run = ctx.layout.guest_run(verb.id)
    ctx.cgroups.create(ctx.layout.cgroup(verb.id))
    limits.write(ctx.cgroups, ctx.layout.cgroup(verb.id), verb.resources)
    fault("launch.overlay")
    _check_sources(plan)
    sources.prepare(ctx, verb.id, plan.sources)
    folders = shares.prepare(ctx, plan, verb.id)
    fault("launch.mounted")
    agents, keepers = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    inherited = {
        "agent": agents.detach(),
        "qmp": _listen(ctx.layout.monitor_socket(verb.id), ctx.gid),
        **{f"tap{number}": fd for number, fd in enumerate(taps)},
        **{f"fs{number}": folder.qemu for number, folder in enumerate(folders)},
    }
    files = {
        "kernel": _open(ctx.guest_dir / "vmlinux"),
        "initrd": _open(ctx.guest_dir / "initrd.cpio"),
    }
    disks = {
        "root": _open(disk_path(ctx.layout, plan.image_id)),
        "disk": _own_disk(ctx.layout.guest_state(verb.id), plan.disk_size),
    }
    fault("launch.config")
    facts.replace(run / "agent.conf", _config(plan))
    link = keepers.detach()
    children = (*inherited.values(), *files.values(), *disks.values())
    servers = tuple(folder.listener for folder in folders)
    return Program(
        conf=(
            ("mode", "machine"),
            *(("argv", word) for word in _argv(ctx, verb, inherited, files, disks)),
            *(("aux", "\x1f".join(_aux(ctx, verb, folder))) for folder in folders),
            *(("child_fd", str(fd)) for fd in (*children, *servers)),
            ("agent_fd", str(link)),
            ("agent_config", "agent.conf"),
            ("console_log", "console.log"),
        ),
        keep=(link, *children, *servers),
        uid=uid,
        gid=uid,
    )


def _check_sources(plan: MachinePlan) -> None:
    """What a guest could write to is a cache and nothing else; secrets go another way."""
    for one in plan.sources:
        if one.secret is not None or one.socket or one.writable:
            raise Invalid("a machine is shared layers and caches only", code="machine.source")


def _argv(
    ctx: Context,
    verb: LaunchGuest,
    inherited: dict[str, int],
    files: dict[str, int],
    disks: dict[str, int],
) -> list[str]:
    """The jail, QEMU, and its arguments with every name replaced."""
    plan = verb.machine
    assert plan is not None
    known = {name: str(fd) for name, fd in inherited.items()}
    known.update((name, f"/proc/self/fd/{fd}") for name, fd in files.items())
    sets: list[str] = []
    for number, (name, fd) in enumerate(disks.items(), start=1):
        # Opening /dev/fdset needs no right to the file, unlike opening /proc/self/fd for writing.
        sets += ["-add-fd", f"fd={fd},set={number},opaque={name}"]
        known[name] = f"/dev/fdset/{number}"

    def value(match: re.Match[str]) -> str:
        try:
            return known[match[1]]
        except KeyError:
            raise Invalid(f"the machine's plan has an unknown place {match[0]}") from None

    uid = str(uid_of(verb.id))
    root = cell.make(ctx.layout.guest_run(verb.id) / "cell", kvm=plan.kvm)
    rights = [f"root={root}", f"uid={uid}", f"gid={uid}", *(_kvm_group() if plan.kvm else [])]
    words = (_PLACE.sub(value, word) for word in plan.argv)
    theirs = (*inherited.values(), *files.values(), *disks.values())
    return [*_jail(ctx, verb, theirs), *rights, "--", QEMU, *sets, *words]


def _kvm_group() -> list[str]:
    """What lets QEMU open /dev/kvm: its group, when not everybody may. Never root's."""
    about = Path("/dev/kvm").stat()
    if about.st_mode & 0o006 == 0o006:
        return []
    if about.st_gid == 0 or about.st_mode & 0o060 != 0o060:
        raise Unsupported(
            "/dev/kvm belongs to root alone, and QEMU runs without root's rights",
            hint="chgrp kvm /dev/kvm && chmod 660 /dev/kvm, or set WIRT_ACCEL=tcg",
        )
    return [f"group={about.st_gid}"]


def _aux(ctx: Context, verb: LaunchGuest, folder: shares.Folder) -> list[str]:
    return [*_jail(ctx, verb, (folder.listener,)), "--", *folder.argv]


def _jail(ctx: Context, verb: LaunchGuest, keep: Sequence[int]) -> list[str]:
    """The start of a command that runs inside the guest's control groups, with these of the
    descriptors that the keeper hands to all of them."""
    files = ctx.cgroups.own_files(ctx.layout.cgroup(verb.id))
    return [
        os.fspath(ctx.keeper.with_name("wirt-jail")),
        *(f"cgroup={file}" for file in files if Path(file).parent.is_dir()),
        *(f"keep={fd}" for fd in keep),
    ]


def _config(plan: MachinePlan) -> bytes:
    try:
        return base64.b64decode(plan.agent_config, validate=True)
    except binascii.Error:
        raise Invalid("the machine's configuration is not base64") from None


def _listen(path: Path, gid: int) -> int:
    """The monitor's socket, for the daemon."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(before)
    os.chown(path, 0, gid)
    path.chmod(0o660)
    listener.listen(1)
    return listener.detach()


def _open(path: Path) -> int:
    """A file that QEMU only reads; it must be a plain one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(
            f"{path} is missing",
            hint="load the image again, or run make setup",
            code="machine.file",
        ) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Invalid(f"{path} is no plain file")
    return fd


def _own_disk(state: Path, size: int) -> int:
    """The guest's writable disk, made empty when it is missing. Sparse: it takes what it holds."""
    path = state / "disk.img"
    if not path.exists():
        _make_disk(path, size)
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)


def _make_disk(path: Path, size: int) -> None:
    if not MIN_DISK <= size <= MAX_DISK:
        raise Invalid(f"a disk of {size} bytes is out of range", hint="from 16 MiB to 16 TiB")
    part = path.with_name("disk.part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.truncate(fd, size)
    except OSError as error:
        raise Exhausted(f"cannot make a disk of {size} bytes: {error.strerror}") from error
    finally:
        os.close(fd)
    # A fresh file is all zeroes: nothing need be written but what a file system is made of.
    options = "lazy_itable_init=1,assume_storage_prezeroed=1,nodiscard,root_owner=0:0"
    spawn.run_sync(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-E", options, os.fspath(part)], timeout=60
    )
    part.rename(path)
