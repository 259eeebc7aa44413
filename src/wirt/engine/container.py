"""Containers: an OCI configuration for crun, with docker's defaults for safety.

Planning is pure: the same values and host facts give the same configuration, byte for byte. What
could not be given as wished (a capability, a limit) is told in the plan's warnings.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from wirt.crun import capability
from wirt.crun.seccomp import ANNOTATION, Filters
from wirt.crun.security import UNCONFINED, Security, parse_options
from wirt.crun.spec import config as oci
from wirt.crun.spec import mounts as mount
from wirt.crun.spec import namespaces, process, resources, sysctl
from wirt.crun.spec.process import Json
from wirt.engine._container_handle import ContainerHandle
from wirt.engine._links import links, ports
from wirt.engine._place import Place
from wirt.engine.protocol import Handle, Plan, ResolvedMount, Size, Start, Support
from wirt.errors import Invalid, Unsupported, WirtError
from wirt.guest.keeper import KeeperLink
from wirt.layout import Layout
from wirt.linux import seccomp, spawn
from wirt.linux.cgroup import Cgroups, Mode
from wirt.linux.features import HostFacts
from wirt.linux.interface import Interfaces
from wirt.model.guest import Guest, GuestSpec, Isolation
from wirt.model.names import short
from wirt.model.resources import Resources
from wirt.model.volume import MountKind
from wirt.privileged.client import Helper
from wirt.privileged.protocol import ContainerPlan, LaunchGuest, Overlay, VolumeFill

FILES = {"hosts": "/etc/hosts", "hostname": "/etc/hostname", "resolv.conf": "/etc/resolv.conf"}
"""The guest's own files and where it sees them."""

_FIRST_IDS = 1024
_ID_RANGES = 30_000


def first_id(guest_id: str) -> int:
    """First host uid and gid of a guest's private user namespace.

    Derived from its id, so that nothing need be remembered: 65,536 ids each, from 67,108,864 up,
    above those that useradd(8) gives to people's containers and below 2**31.
    """
    return (_FIRST_IDS + int(guest_id[:12], 16) % _ID_RANGES) * namespaces.IDS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What this host really gives of what was wished, and what the user should know."""

    capabilities: frozenset[str]
    rlimits: tuple[Json, ...]
    limits: Resources
    warnings: tuple[str, ...]


class ContainerEngine:
    """Containers on one host.

    ``facts``: of the process that starts guests, the root helper
    (:func:`wirt.linux.features.read_facts`). ``init``: path of the static ``wirt-init``.
    """

    isolation = Isolation.CONTAINER

    def __init__(
        self,
        *,
        layout: Layout,
        facts: HostFacts,
        filters: Filters,
        init: Path,
        helper: Helper,
        cgroups: Cgroups,
    ) -> None:
        self._layout = layout
        self._facts = facts
        self._filters = filters
        self._init = init
        self._place = Place(
            layout=layout, facts=facts, cgroups=cgroups, interfaces=Interfaces(), helper=helper
        )

    def probe(self) -> Support:
        """Whether crun, libseccomp and control groups are there."""
        crun = shutil.which("crun", path=spawn.PATH)
        if crun is None:
            return Support(
                works=False, reason="crun is not installed", cure="install the package crun"
            )
        if (missing := seccomp.available()) is not None:
            return Support(works=False, reason=missing, cure="install the package libseccomp2")
        if self._facts.cgroup is Mode.NONE:
            return Support(
                works=False,
                reason="no control groups are mounted",
                cure="mount cgroup2 on /sys/fs/cgroup",
            )
        if not self._facts.loads_device_filters:
            return Support(
                works=False,
                reason="crun may not lift RLIMIT_MEMLOCK, which cgroup version 2 needs",
                cure="start the helper with LimitMEMLOCK=infinity, or with CAP_SYS_RESOURCE",
            )
        return Support(works=True, detail={"crun": crun, "cgroup": self._facts.cgroup.value})

    def give_up(self, error: WirtError) -> bool:
        """A container needs nothing that it could do without."""
        del error
        return False

    def trust_again(self) -> None:
        """Nothing was given up."""

    def handle(self, guest: Guest, keeper: KeeperLink) -> Handle:
        """The running container behind this record."""
        return ContainerHandle(guest=guest, keeper=keeper, place=self._place)

    def check(self, spec: GuestSpec) -> tuple[str, ...]:
        """Raise for anything a container cannot be (see :class:`~wirt.engine.protocol.Engine`)."""
        if spec.command is not None and spec.command:
            process.check_argv(spec.command)
        process.check_env(spec.env, option="--env")
        if spec.working_dir:
            process.check_cwd(spec.working_dir)
        process.check_ulimits(spec.ulimits)
        capability.check(spec.cap_add, "--cap-add")
        capability.check(spec.cap_drop, "--cap-drop")
        sysctl.check_sysctls(spec.sysctls, network=spec.network_mode)
        resources.check_resources(spec.resources, self._facts)
        _check_mounts(spec)
        _check_annotations(spec)
        self._check_kind(spec)
        security = parse_options(spec.security_opt)
        if security.seccomp != UNCONFINED:
            self._filters.annotation(security.seccomp, self._granted(spec).names)
        return self._given(spec).warnings

    def _check_kind(self, spec: GuestSpec) -> None:
        if spec.disk_size is not None:
            raise Unsupported(
                "a container has no disk of its own", hint="use --as microvm or --as vm"
            )
        if spec.shm_size is not None and not 0 < spec.shm_size <= resources.MAX_SIZE:
            raise Invalid(f"--shm-size {spec.shm_size} is out of range", hint="write a size as 64m")
        if spec.userns not in {"", "private"}:
            raise Invalid(f"unknown --userns {spec.userns[:40]!r}", hint="known is private")
        if spec.userns == "private":
            if not self._facts.user_namespaces:
                raise Unsupported(
                    "this host has no user namespaces", hint="set user.max_user_namespaces"
                )
            if spec.network_mode == "host" or spec.network_mode.startswith("guest:"):
                raise Invalid(
                    "a private user namespace needs a network of its own",
                    hint="leave out --userns, or use another --network",
                )

    def _granted(self, spec: GuestSpec) -> capability.Granted:
        return capability.grant(spec.cap_add, spec.cap_drop, bounding=self._facts.bounding)

    def _given(self, spec: GuestSpec) -> _Given:
        granted = self._granted(spec)
        limits, warned = resources.effective(spec.resources, self._facts)
        rlimits = process.rlimits(
            spec.ulimits,
            host=self._facts.rlimits,
            may_raise="SYS_RESOURCE" in self._facts.bounding,
            most_files=self._facts.most_files,
        )
        return _Given(
            capabilities=granted.names,
            rlimits=rlimits.entries,
            limits=limits,
            warnings=(*granted.warnings, *rlimits.warnings, *warned),
        )

    def size(self, spec: GuestSpec) -> Size:
        """No larger than its limits; its processes may use next to nothing."""
        return Size(memory=spec.resources.memory, cpu_millis=spec.resources.cpu_millis)

    def plan(self, start: Start) -> Plan:
        """The launch of a container. Pure but for the cache of compiled filters."""
        spec = start.guest.spec
        security = parse_options(spec.security_opt)
        given = self._given(spec)
        idmap = first_id(start.guest.id) if spec.userns == "private" else None
        parts = oci.Parts(
            root=str(self._layout.guest_run(start.guest.id) / "root"),
            read_only=spec.read_only,
            hostname=spec.hostname or short(start.guest.id),
            process=self._process(start, security, given),
            mounts=self._mounts(start),
            namespaces=self._namespaces(start, private_user=idmap is not None),
            resources=resources.resources(given.limits, self._facts, fence=start.fence),
            cgroup=self._layout.cgroup(start.guest.id),
            sysctls=sysctl.sysctls(
                spec.sysctls,
                private_network=start.network == "private",
                ids=2**31 if idmap is None else namespaces.IDS,
            ),
            annotations=self._annotations(spec, security, given),
            idmap=idmap,
        )
        launch = LaunchGuest(
            id=start.guest.id,
            tty=spec.tty,
            stdin=spec.stdin_open,
            stdin_once=spec.stdin_once,
            network=start.network,
            log_size=spec.log.size,
            log_files=spec.log.files,
            links=links(start),
            ports=ports(start),
            files=dict(start.files),
            resources=given.limits,
            container=ContainerPlan(
                config=oci.encode(oci.config(parts)),
                overlay=Overlay(
                    layers=start.image.chain_ids, idmap=idmap, volatile=spec.remove_on_exit
                ),
                user=start.process.user,
                fills=tuple(
                    VolumeFill(volume=m.volume, target=m.target) for m in start.mounts if m.fill
                ),
                binds_to_make=tuple(m.source for m in start.mounts if m.make),
                filtered=security.seccomp != UNCONFINED,
            ),
        )
        return Plan(launch=launch, warnings=given.warnings)

    def _process(self, start: Start, security: Security, given: _Given) -> Json:
        own = start.process
        process.check_argv(own.argv)
        process.check_env(own.env)
        process.check_cwd(own.working_dir or "/")
        argv = own.argv
        if start.variables:
            argv = (mount.STARTER_TARGET, "--env", mount.VARIABLES_TARGET, *argv)
        if start.guest.spec.init:
            argv = (mount.INIT_TARGET, "--", *argv)
        wish = process.ProcessWish(
            argv=argv,
            env=own.env,
            cwd=own.working_dir,
            tty=start.guest.spec.tty,
            capabilities=given.capabilities,
            rlimits=given.rlimits,
            no_new_privileges=security.no_new_privileges,
        )
        return process.process(wish)

    def _mounts(self, start: Start) -> list[Json]:
        spec = start.guest.spec
        etc = self._layout.guest_state(start.guest.id) / "etc"
        own = [
            mount.file_mount(target, str(etc / name), read_only=spec.read_only)
            for name, target in FILES.items()
            if name in start.files
        ]
        wished = [_resolved(one) for one in start.mounts]
        if spec.init:
            wished.append(mount.program_mount(mount.INIT_TARGET, str(self._init)))
        if start.variables:
            wished.append(mount.program_mount(mount.STARTER_TARGET, str(self._init)))
            wished.append(mount.file_mount(mount.VARIABLES_TARGET, start.variables))
        return mount.ordered(
            mount.kernel_mounts(shm_size=spec.shm_size or mount.DEFAULT_SHM), own, wished
        )

    def _namespaces(self, start: Start, *, private_user: bool) -> list[Json]:
        user = str(self._layout.guest_run(start.guest.id) / "userns") if private_user else ""
        return namespaces.namespaces(private_network=start.network != "host", user=user)

    def _annotations(self, spec: GuestSpec, security: Security, given: _Given) -> dict[str, str]:
        if security.seccomp == UNCONFINED:
            return dict(spec.annotations)
        ready = self._filters.annotation(security.seccomp, given.capabilities)
        return {**spec.annotations, ANNOTATION: ready}


def _check_mounts(spec: GuestSpec) -> None:
    seen: set[str] = set()
    for one in spec.mounts:
        mount.check_target(one.target)
        place = process.clean(one.target)
        if place in seen:
            raise Invalid(
                f"two mounts on {one.target[:100]!r}", hint="mount one thing on one place"
            )
        seen.add(place)
        if one.kind is MountKind.TMPFS:
            mount.check_tmpfs(one.options, size=one.size, mode=one.mode)
        else:
            mount.check_propagation(one.propagation)


def _check_annotations(spec: GuestSpec) -> None:
    for name in spec.annotations:
        if name.startswith(oci.RESERVED):
            raise Invalid(
                f"the annotation {name[:80]!r} is reserved",
                hint=f"names must not begin with {', '.join(oci.RESERVED)}",
            )


def _resolved(one: ResolvedMount) -> Json:
    mount.check_target(one.target)
    if one.kind is MountKind.TMPFS:
        return mount.tmpfs_mount(
            one.target, size=one.size, mode=one.mode, options=one.options, read_only=one.read_only
        )
    return mount.bind_mount(
        one.target,
        one.source,
        read_only=one.read_only,
        propagation=one.propagation,
        recursive=not (one.flat or one.is_file),
    )
