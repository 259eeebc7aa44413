"""What makes a launch a container's: its root, its user, its configuration, its engine.

Runs in the launch child, inside its private mount namespace; see :mod:`wirt.privileged.launch`.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import msgspec

from wirt.errors import Invalid
from wirt.linux import libc, spawn
from wirt.privileged import check, facts, rootfs, sources, stubs, userns, userview
from wirt.privileged.context import Context
from wirt.privileged.faults import fault
from wirt.privileged.fill import fill_volume
from wirt.privileged.paths import volume_path
from wirt.privileged.program import Program
from wirt.privileged.protocol import ContainerPlan, LaunchGuest, ResolvedUser
from wirt.privileged.userns import UserNamespace
from wirt.privileged.users import resolve


def prepare(ctx: Context, verb: LaunchGuest, user: UserNamespace | None) -> Program:
    """Make everything in the mount namespace; what the keeper is to run.

    ``user``: the private user namespace, when the plan wants one.
    """
    plan = verb.container
    assert plan is not None
    run = ctx.layout.guest_run(verb.id)
    _make_binds(plan)
    for program in (spawn.which("crun"), _joiner(ctx)):
        _seal(program)
    fault("launch.overlay")
    sources.prepare(ctx, verb.id, plan.sources)
    path = rootfs.mount(ctx, verb.id, plan.overlay, user, _points(plan))
    if user is not None:
        userns.pin(user.user, run / "userns")
        userview.cover_dev()
    fault("launch.mounted")
    root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        rootfs.judge(root, tuple(verb.files))
        for one in plan.fills:
            _fill(volume_path(ctx.layout, one.volume), root, one.target)
        who = resolve(root, plan.user)
    finally:
        os.close(root)
    sources.give(ctx, verb.id, plan.sources, uid=who.uid, gid=who.gid)
    fault("launch.config")
    config = with_user(plan.config, who)
    if user is not None:
        config = userview.show_binds(
            config, run / "binds", namespace=user.user, own=(ctx.layout.state,)
        )
    # The daemon reads it to start further processes in the same environment.
    facts.replace(run / "config.json", config, mode=0o640)
    return Program(
        conf=(
            ("mode", "container"),
            *(("argv", word) for word in run_argv(ctx, verb.id, tty=verb.tty)),
            *(("exec_argv", word) for word in exec_argv(ctx, verb.id)),
            ("engine_log", "engine.log"),
            *(joining(ctx, verb.id, filtered=plan.filtered) if user is None else ()),
        ),
        uid=who.uid,
        gid=who.gid,
    )


def engine_argv(ctx: Context, guest_id: str) -> list[str]:
    """crun with its global options. ``cgroupfs``: the helper owns the groups, not systemd."""
    return [
        spawn.which("crun"),
        f"--root={ctx.layout.crun_root}",
        "--cgroup-manager=cgroupfs",
        f"--log={ctx.layout.guest_run(guest_id) / 'engine.log'}",
    ]


def _seal(program: str) -> None:
    """Show a program that enters the container read-only in this mount namespace.

    A container must not get hold of a writable /proc/PID/exe of it (CVE-2019-5736). crun knows
    that: where its program is not on a read-only mount it makes one and starts itself again from
    there, at 4 ms for each run and exec.
    """
    libc.mount(program, program, flags=libc.MS_BIND)
    libc.mount(None, program, flags=libc.MS_BIND | libc.MS_REMOUNT | libc.MS_RDONLY)


def _joiner(ctx: Context) -> str:
    return os.fspath(ctx.keeper.with_name("wirt-join"))


def joining(ctx: Context, guest_id: str, *, filtered: bool) -> tuple[tuple[str, str], ...]:
    """What wirt-join needs to run further processes (``native/join/main.c``).

    Not with a private user namespace: there the engine does it. ``filtered``: crun keeps the
    compiled system call filter beside its own state.
    """
    place = ctx.layout.crun_root / guest_id / "seccomp.bpf"
    files = ctx.cgroups.own_files(ctx.layout.cgroup(guest_id))
    return (
        ("join", _joiner(ctx)),
        ("join_filter", os.fspath(place) if filtered else ""),
        *(("join_group", file) for file in files),
    )


def run_argv(ctx: Context, guest_id: str, *, tty: bool) -> list[str]:
    """Create and start in one crun process; each one costs 5 ms. The keeper is its subreaper, so
    the container's init becomes the keeper's child."""
    run = ctx.layout.guest_run(guest_id)
    console = ["--console-socket=console.sock"] if tty else []
    words = ["run", "--detach", f"--bundle={run}", "--pid-file=pid", *console, guest_id]
    return [*engine_argv(ctx, guest_id), *words]


def exec_argv(ctx: Context, guest_id: str) -> list[str]:
    """The keeper appends ``--process FILE --pid-file FILE [--console-socket F] ID``."""
    return [*engine_argv(ctx, guest_id), "exec", "--detach"]


def _points(plan: ContainerPlan) -> list[stubs.Point]:
    try:
        return stubs.points(msgspec.json.decode(plan.config))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise _malformed(error) from error


def _malformed(error: Exception) -> Invalid:
    return Invalid(f"the container's configuration is malformed: {error}")


def with_user(config: str, who: ResolvedUser) -> bytes:
    """``config.json`` with the numeric user, and ``HOME`` unless the environment has one."""
    try:
        value: dict[str, Any] = msgspec.json.decode(config)
        process = value["process"]
        process["user"] = {"uid": who.uid, "gid": who.gid, "additionalGids": list(who.groups)}
        env = process.setdefault("env", [])
        if not any(entry.startswith("HOME=") for entry in env):
            env.append(f"HOME={who.home}")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise _malformed(error) from error
    return msgspec.json.encode(value)


def _fill(volume: Path, root: int, target: str) -> None:
    """Fill a new volume; two launches that want the same one wait for each other."""
    fd = os.open(volume, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        fault("launch.fill")
        fill_volume(volume, root, target)
    finally:
        os.close(fd)


def _make_binds(plan: ContainerPlan) -> None:
    for source in plan.binds_to_make:
        path: Path = check.absolute(source, "bind source")
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
