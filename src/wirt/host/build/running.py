"""RUN: from an instruction to a :class:`RunStep`, and to its cache key."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping
from functools import partial

from wirt.errors import Invalid, NotFound, Unsupported
from wirt.host.build.job import Job
from wirt.image.build import cache
from wirt.image.build.dockerfile import ast
from wirt.image.build.graph import ContextRef, ImageRef, Origin, StageRef
from wirt.image.build.outcome import Root
from wirt.image.build.pack import fingerprint
from wirt.image.build.step import (
    BindMount,
    CacheMount,
    RunStep,
    SecretMount,
    Sharing,
    SshMount,
    StepMount,
    TmpfsMount,
)
from wirt.image.build.steps import Step
from wirt.image.build.tree import Tree

Origins = Mapping[str, Origin]


def command(run: ast.Run, step: Step) -> tuple[tuple[str, ...], bytes]:
    """What is executed, and what it reads from its standard input.

    A script that is the whole of a heredoc goes to the shell, or to the program that its first
    line names; other heredocs are the shell's own.
    """
    settings = step.before
    if not run.heredocs:
        return settings.argv(run.command), b""
    if not run.script:
        text = "\n".join(
            (run.command.words[0], *(f"{doc.content}{doc.name}" for doc in run.heredocs))
        )
        return (*settings.shell, text + "\n"), b""
    script = run.heredocs[0].content
    if script.startswith("#!"):
        first = script[2:].split("\n", 1)[0].strip()
        words = shlex.split(first) if first else list(settings.shell[:1])
        return (*words, "/dev/stdin"), script.encode("utf-8", "surrogateescape")
    return (*settings.shell, script), b""


def environment(step: Step, root: Root) -> tuple[str, ...]:
    """All variables. Programs that know SOURCE_DATE_EPOCH write what can be compared."""
    values = {"SOURCE_DATE_EPOCH": str(root.epoch), **step.hidden, **step.env}
    return tuple(f"{name}={value}" for name, value in values.items())


async def inputs(job: Job, step: Step, root: Root, origins: Origins, site: str) -> cache.Inputs:
    """What the result of a RUN depends on."""
    run = step.instruction
    assert isinstance(run, ast.Run)
    argv, stdin = command(run, step)
    wish = job.wish
    parts = {
        "the files below it": root.chain_id,
        "the command": cache.digest([*argv, stdin.hex()]),
        "the working directory": step.before.cwd,
        "the user": step.before.user,
        "the network": _network(run, job),
        "the time of files": str(root.epoch),
        **{f"the variable {name}": cache.digest(value) for name, value in step.env.items()},
    }
    if wish.extra_hosts:
        parts["--add-host"] = cache.digest(list(wish.extra_hosts))
    if wish.shm_size is not None or wish.ulimits:
        parts["the limits"] = cache.digest([wish.shm_size, dict(wish.ulimits)])
    for number, mount in enumerate(run.mounts):
        name = f"the mount {mount.kind.value} {mount.target or mount.id or number}"
        parts[name] = await _mount_input(job, mount, origins)
    return cache.Inputs(site=site, parts=parts)


async def _mount_input(job: Job, mount: ast.Mount, origins: Origins) -> str:
    said = [
        mount.kind.value, mount.target, mount.source, mount.readonly, mount.id, mount.env,
        mount.size, mount.mode, mount.uid, mount.gid, mount.required,
    ]  # fmt: skip
    if mount.kind in {ast.MountKind.SECRET, ast.MountKind.SSH}:
        return cache.digest([*said, mount.kind is ast.MountKind.SSH or _given(job, mount)])
    if mount.kind is ast.MountKind.BIND:
        origin = origins[mount.origin] if mount.origin else None
        if isinstance(origin, (StageRef, ImageRef)):
            return cache.digest([*said, (await job.sources.root(origin)).chain_id])
        name = origin.name if isinstance(origin, ContextRef) else ""
        return cache.digest([*said, _tree_digest(job.sources.context(name), mount.source or "/")])
    if mount.origin and not isinstance(origin := origins[mount.origin], ContextRef):
        await job.sources.root(origin)  # waited for before a slot is taken
    return cache.digest(said)


def _given(job: Job, mount: ast.Mount) -> bool:
    return secret_id(mount) in job.wish.secrets


def _tree_digest(tree: Tree, path: str) -> str:
    top = tree.resolve(path)
    found = [top, *tree.walk(top.path)]
    return cache.digest([fingerprint(entry.path, entry) for entry in found])


def _network(run: ast.Run, job: Job) -> str:
    return run.network if run.network != "default" else job.wish.network


def secret_id(mount: ast.Mount) -> str:
    """A secret's id; by default the name of its target."""
    return mount.id or posixpath.basename(mount.target or "")


async def run_step(job: Job, step: Step, root: Root, origins: Origins, name: str) -> RunStep:
    """The step for the runner. Raises NotFound for secrets that were not given."""
    run = step.instruction
    assert isinstance(run, ast.Run)
    if run.security == "insecure":
        raise Unsupported(
            "RUN --security=insecure is not offered",
            hint="build with --as microvm for steps that need more rights",
            code="build.insecure",
        )
    argv, stdin = command(run, step)
    if not argv:
        raise Invalid("RUN has no command", code="build.no-command")
    mounts: list[StepMount] = []
    secret_env: list[str] = []
    for mount in run.mounts:
        made = await _mount(job, mount, step, origins, secret_env, len(mounts))
        if made is not None:
            mounts.append(made)
    wish = job.wish
    return RunStep(
        argv=argv,
        env=environment(step, root),
        secret_env=tuple(secret_env),
        cwd=step.before.cwd,
        user=step.before.user,
        mounts=tuple(mounts),
        network=_network(run, job),
        extra_hosts=wish.extra_hosts,
        stdin=stdin,
        epoch=root.epoch,
        isolation=wish.isolation,
        shm_size=wish.shm_size,
        ulimits=wish.ulimits,
        keep_failed=wish.keep_failed,
        name=name,
    )


async def _mount(
    job: Job,
    mount: ast.Mount,
    step: Step,
    origins: Origins,
    secret_env: list[str],
    number: int,
) -> StepMount | None:
    origin = origins[mount.origin] if mount.origin else None
    target = step.before.path(mount.target) if mount.target else ""
    match mount.kind:
        case ast.MountKind.BIND:
            return BindMount(
                target=target,
                layers=await job.sources.layer(origin),
                source=mount.source or "/",
                writable=mount.readonly is False,
            )
        case ast.MountKind.CACHE:
            return CacheMount(
                target=target,
                id=mount.id or target,
                sharing=Sharing(mount.sharing or "shared"),
                read_only=bool(mount.readonly),
                mode=0o755 if mount.mode is None else mount.mode,
                uid=mount.uid or 0,
                gid=mount.gid or 0,
                layers=await job.sources.layer(origin) if origin is not None else (),
                source=mount.source or "/",
            )
        case ast.MountKind.TMPFS:
            return TmpfsMount(target=target, size=mount.size or 0)
        case ast.MountKind.SECRET:
            return _secret(job, mount, target, secret_env)
        case ast.MountKind.SSH:
            return _ssh(job, mount, target, number)


def _ssh(job: Job, mount: ast.Mount, target: str, number: int) -> SshMount | None:
    """The client's agent, if it was given. Raises NotFound when it must have been."""
    name = mount.id or "default"
    if name not in job.wish.ssh:
        if not mount.required:
            return None
        raise NotFound(
            f"the SSH agent {name[:100]!r} was not given",
            hint=f"add --ssh {name[:100]}",
            code="build.no-agent",
        )
    return SshMount(
        target=target or f"/run/wirt/ssh-agent.{number}",
        connect=partial(job.agents.connect, job.wish.ssh_token, name),
        mode=0o600 if mount.mode is None else mount.mode,
        uid=mount.uid or 0,
        gid=mount.gid or 0,
    )


def _secret(job: Job, mount: ast.Mount, target: str, secret_env: list[str]) -> SecretMount | None:
    name = secret_id(mount)
    content = job.need_secret(name) if mount.required else job.secret(name)
    if content is None:
        return None
    if mount.env:
        secret_env.append(f"{mount.env}={content.decode('utf-8', 'surrogateescape')}")
        if not mount.target:
            return None
    return SecretMount(
        target=target or f"/run/secrets/{name}",
        content=content,
        mode=0o400 if mount.mode is None else mount.mode,
        uid=mount.uid or 0,
        gid=mount.gid or 0,
    )
