"""From a step to the guest that runs it, as values. Pure.

The guest is planned by the same engine as every other one, so a step has the same capabilities,
the same system call filter and the same limits as a container of ``wirt run``.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from wirt.engine.protocol import Given, Process, ResolvedMount
from wirt.errors import Invalid
from wirt.image import platform
from wirt.image.build.step import (
    MAX_SECRET,
    BindMount,
    CacheMount,
    RunStep,
    SecretMount,
    SshMount,
    StepMount,
    TmpfsMount,
)
from wirt.layout import Layout
from wirt.model.guest import ExecSpec, Guest, GuestSpec, Isolation, LogOptions
from wirt.model.image import Image, ImageConfig
from wirt.model.names import short
from wirt.model.volume import MountKind
from wirt.privileged.protocol import LaunchGuest, StepSource

NETWORKS = {"default": "", "none": "none", "host": "host"}
_LOG = LogOptions(size=1024 * 1024, files=1)
MOST_MOUNTS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What was chosen outside for a step's mounts: caches and sockets."""

    caches: Mapping[CacheMount, str]
    sockets: Mapping[SshMount, str]


def check(step: RunStep) -> None:
    """Raise Invalid or Unsupported for a step that cannot be run, before anything is made."""
    if not step.argv or not step.argv[0]:
        raise Invalid("the step names no command", code="build.no-command")
    if step.network not in NETWORKS:
        raise Invalid(
            f"unknown network {step.network[:40]!r}", hint=f"known are {', '.join(NETWORKS)}"
        )
    if len(step.mounts) > MOST_MOUNTS:
        raise Invalid(f"the step has {len(step.mounts)} mounts", hint=f"{MOST_MOUNTS} are allowed")
    for entry in step.secret_env:  # nothing of it may be in a message
        if "=" not in entry or entry.startswith("=") or "\0" in entry:
            raise Invalid("a secret cannot be given as a variable", code="build.secret")
    for mount in step.mounts:
        if isinstance(mount, SecretMount) and len(mount.content) > MAX_SECRET:
            raise Invalid(
                f"the secret at {mount.target[:100]!r} has {len(mount.content)} bytes",
                hint=f"a secret has at most {MAX_SECRET}",
                code="build.secret",
            )
        if isinstance(mount, BindMount) and not mount.layers:
            raise Invalid(f"nothing is there to mount at {mount.target[:100]!r}")


def guest_of(guest_id: str, base: tuple[str, ...], step: RunStep, *, now: int) -> Guest:
    """The guest that nobody sees. ``now``: Unix nanoseconds."""
    spec = GuestSpec(
        image="build",
        isolation=step.isolation,
        command=step.argv,
        user=step.user,
        working_dir=step.cwd,
        hostname=step.hostname,
        stdin_open=bool(step.stdin),
        stdin_once=bool(step.stdin),
        network_mode=NETWORKS[step.network],
        resources=step.resources,
        extra_hosts=step.extra_hosts,
        shm_size=step.shm_size,
        ulimits=dict(step.ulimits),
        log=_LOG,
    )
    return Guest(
        id=guest_id,
        name=f"build-{short(guest_id)}",
        spec=spec,
        image_id=image_of(base).id,
        created_at=now,
        command=step.argv,
    )


def image_of(base: tuple[str, ...]) -> Image:
    """The layers as an image without a configuration, named by what they are."""
    place = platform.host()
    return Image(
        id=f"sha256:{hashlib.sha256(' '.join(base).encode()).hexdigest()}",
        manifest="",
        architecture=place.architecture,
        os=place.os,
        config=ImageConfig(),
        diff_ids=(),
        chain_ids=base,
        size=0,
    )


def process_of(step: RunStep) -> Process:
    """What is run. Secret variables are in no configuration: a container's starter takes them out
    of memory (:func:`variables_of`), a machine is told them when it runs (:func:`inside`)."""
    env = step.env
    agents = [mount for mount in step.mounts if isinstance(mount, SshMount)]
    if agents and not any(entry.startswith("SSH_AUTH_SOCK=") for entry in env):
        env = (*env, f"SSH_AUTH_SOCK={agents[0].target}")
    return Process(
        argv=step.argv,
        env=env,
        working_dir=step.cwd or "/",
        user=step.user,
        stop_signal=signal.SIGTERM,
    )


def mounts_of(layout: Layout, guest_id: str, step: RunStep) -> tuple[ResolvedMount, ...]:
    """The mounts as an engine knows them: sources that the helper will make, and tmpfs."""
    in_machine = step.isolation is not Isolation.CONTAINER
    memory = tuple(_tmpfs(one) for one in step.mounts if isinstance(one, TmpfsMount))
    sources = tuple(
        ResolvedMount(
            kind=MountKind.BIND,
            target=mount.target,
            source=str(layout.step_source(guest_id, number)),
            read_only=_read_only(mount),
            flat=True,
            prepared=number if in_machine else None,
            discard=in_machine and isinstance(mount, BindMount) and mount.writable,
        )
        for number, mount in enumerate(with_source(step))
    )
    return (*memory, *sources)


def with_source(step: RunStep) -> tuple[StepMount, ...]:
    """The mounts of which the helper makes the source. A machine is given secrets and sockets by
    its agent: there is no file of them on this host."""
    in_machine = step.isolation is not Isolation.CONTAINER
    apart = (TmpfsMount, SecretMount, SshMount) if in_machine else (TmpfsMount,)
    return tuple(mount for mount in step.mounts if not isinstance(mount, apart))


def variables_of(layout: Layout, guest_id: str, step: RunStep) -> str:
    """The source with a container's secret variables, the last of all; "" when there are none."""
    if not step.secret_env or step.isolation is not Isolation.CONTAINER:
        return ""
    return str(layout.step_source(guest_id, len(with_source(step))))


def _tmpfs(mount: TmpfsMount) -> ResolvedMount:
    return ResolvedMount(
        kind=MountKind.TMPFS, target=mount.target, size=mount.size or None, options=("exec",)
    )


def _read_only(mount: StepMount) -> bool:
    match mount:
        case BindMount():
            return not mount.writable
        case CacheMount():
            return mount.read_only
        case SecretMount():
            return True
    return False


def layers_of(step: RunStep) -> tuple[str, ...]:
    """Chain ids of what it mounts."""
    return tuple(
        chain_id
        for mount in step.mounts
        if isinstance(mount, BindMount | CacheMount)
        for chain_id in mount.layers
    )


def secrets_of(step: RunStep) -> tuple[SecretMount, ...]:
    """The secrets of a step as files, in the order in which a machine numbers them."""
    return tuple(mount for mount in step.mounts if isinstance(mount, SecretMount))


def agents_of(step: RunStep) -> tuple[SshMount, ...]:
    """The sockets of a step, likewise."""
    return tuple(mount for mount in step.mounts if isinstance(mount, SshMount))


def given_of(step: RunStep) -> tuple[Given, ...]:
    """What a machine's agent gives the step. No secret is in this."""
    if step.isolation is Isolation.CONTAINER:
        return ()
    given: tuple[SecretMount | SshMount, ...] = (*secrets_of(step), *agents_of(step))
    return tuple(
        Given(
            kind="secret" if isinstance(mount, SecretMount) else "socket",
            target=mount.target,
            mode=mount.mode,
            uid=mount.uid,
            gid=mount.gid,
        )
        for mount in given
    )


def sources_of(step: RunStep, names: Names) -> tuple[StepSource, ...]:
    """What the helper shall make, in the order of :func:`mounts_of`."""
    in_machine = step.isolation is not Isolation.CONTAINER
    found = tuple(_source(mount, names, in_machine=in_machine) for mount in with_source(step))
    if in_machine or not step.secret_env:
        return found
    content = "".join(f"{entry}\0" for entry in step.secret_env)
    secret = content.encode("utf-8", "surrogateescape")
    return (*found, StepSource(secret=secret, mode=0o600, own=True))


def _source(mount: StepMount, names: Names, *, in_machine: bool) -> StepSource:
    match mount:
        case BindMount():
            # What a machine writes goes to its own disk.
            writable = mount.writable and not in_machine
            return StepSource(layers=mount.layers, source=mount.source, writable=writable)
        case CacheMount():
            return StepSource(
                cache=names.caches[mount],
                key=mount.id,
                layers=mount.layers,
                source=mount.source,
                mode=mount.mode,
                uid=mount.uid,
                gid=mount.gid,
            )
        case SecretMount():
            return StepSource(secret=mount.content, mode=mount.mode, uid=mount.uid, gid=mount.gid)
        case SshMount():
            return StepSource(
                socket=names.sockets[mount], mode=mount.mode, uid=mount.uid, gid=mount.gid
            )
    raise AssertionError("a tmpfs has no source")


def inside(step: RunStep, *, tty: bool = False) -> ExecSpec:
    """The step as a further process of a machine, whose environment it shares."""
    return ExecSpec(
        command=step.argv,
        env=step.secret_env,
        user=step.user,
        working_dir=step.cwd or "/",
        tty=tty,
        stdin=tty or bool(step.stdin),
    )


def with_sources(launch: LaunchGuest, sources: tuple[StepSource, ...]) -> LaunchGuest:
    """The engine's plan with the step's sources in it."""
    if launch.machine is not None:
        machine = msgspec.structs.replace(launch.machine, sources=sources)
        return msgspec.structs.replace(launch, machine=machine)
    assert launch.container is not None
    container = msgspec.structs.replace(launch.container, sources=sources)
    return msgspec.structs.replace(launch, container=container)


def shell_step(step: RunStep, argv: tuple[str, ...]) -> RunStep:
    """The same step with another command, for somebody who looks into its state."""
    return replace(step, argv=argv, stdin=b"", keep_failed=False, timeout=None)
