"""What microVMs and VMs have in common: their limits, and the plan of a start. Pure.

A machine has a kernel of its own, so much of what a container may not is simply true here (every
capability, every kernel parameter, an init), and what shares the host's kernel is refused, naming
the kind that can.
"""

from __future__ import annotations

import base64
import errno
from collections.abc import Iterable
from dataclasses import replace

from wirt.crun import capability
from wirt.crun.security import UNCONFINED, parse_options
from wirt.crun.spec import mounts as mount
from wirt.crun.spec import process, resources
from wirt.engine._links import links, ports
from wirt.engine._sizes import MAX_CPUS, MIB, Room, Shape, host_resources, memory_of, vcpus
from wirt.engine.protocol import Given, Plan, ResolvedMount, Start, Support
from wirt.errors import Invalid, Unsupported, WirtError
from wirt.guest.frame import encode_record
from wirt.linux.features import CAPABILITIES, HostFacts
from wirt.model.guest import GuestSpec
from wirt.model.names import short
from wirt.model.units import format_size
from wirt.model.volume import MountKind
from wirt.privileged.protocol import LaunchGuest, LinkPlan, MachinePlan, Share, VolumeFill
from wirt.qemu import machine
from wirt.qemu.bus import Board
from wirt.qemu.device.disk import LEAST_RATE
from wirt.qemu.host import MachineHost

DEFAULT_DISK = 10 << 30
MIN_DISK = 16 * MIB
MAX_DISK = 16 << 40
DEFAULT_SHM = 64 * MIB
FILES = {"hosts": "/etc/hosts", "hostname": "/etc/hostname", "resolv.conf": "/etc/resolv.conf"}
SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}
"""As containers have them: any user may bind port 80 and send pings."""
_US = "\x1f"


def support(shape: Shape, host: MachineHost) -> Support:
    """Whether this kind works here."""
    if host.problem:
        return Support(works=False, reason=host.problem, cure=host.cure)
    accelerator = host.accelerator
    detail = {
        "accelerator": accelerator.name,
        "accelerator_reason": accelerator.reason,
        "cpu": accelerator.cpu,
        "kernel": host.kernel,
        "qemu": host.qemu,
        "shared_folders": "yes" if host.shares else "no: virtiofsd is not installed",
    }
    if _needs_counter(shape, host) and host.tsc_khz is None:
        return Support(
            works=False,
            reason="this host's time stamp counter cannot be measured, which a microVM needs",
            cure="use --as vm",
            detail=detail,
        )
    return Support(works=True, reason=accelerator.reason, detail=detail)


def _needs_counter(shape: Shape, host: MachineHost) -> bool:
    return shape.board is Board.MICROVM and host.accelerator.name == "tcg"


# --- check ------------------------------------------------------------------------------------


def check(spec: GuestSpec, shape: Shape, facts: HostFacts) -> None:
    """Raise for anything this kind cannot be (see :class:`~wirt.engine.protocol.Engine`)."""
    if spec.command:
        process.check_argv(spec.command)
    process.check_env(spec.env, option="--env")
    if spec.working_dir:
        process.check_cwd(spec.working_dir)
    process.check_ulimits(spec.ulimits)
    capability.check(spec.cap_add, "--cap-add")
    capability.check(spec.cap_drop, "--cap-drop")
    _check_sysctls(spec)
    _check_sizes(spec, shape)
    # Disks are throttled by QEMU: the host need not be able to.
    resources.check_resources(replace(spec.resources, io_limit=None), facts)
    _check_mounts(spec, shape)
    _check_shared_kernel(spec, shape)


def _check_shared_kernel(spec: GuestSpec, shape: Shape) -> None:
    """What only makes sense with the host's kernel."""
    kind = shape.isolation.value
    if spec.network_mode == "host" or spec.network_mode.startswith("guest:"):
        wish = "host" if spec.network_mode == "host" else "container:"
        raise Unsupported(
            f"a {kind} has a network of its own and cannot use --network {wish}",
            hint="use --as container, or publish ports with -p",
        )
    if spec.userns:
        raise Unsupported(
            f"--userns is for containers: a {kind} is apart from the host's users anyway",
            hint="leave out --userns, or use --as container",
        )
    security = parse_options(spec.security_opt)
    if security.seccomp not in {"", UNCONFINED}:
        raise Unsupported(
            f"a {kind} takes no seccomp profile: its system calls do not reach this host",
            hint="leave out --security-opt seccomp, or use --as container",
        )
    if spec.resources.memory_swap not in {None, -1, spec.resources.memory}:
        raise Unsupported(
            f"a {kind} has no part in the host's swap",
            hint="leave out --memory-swap, or use --as container",
        )


def _check_sizes(spec: GuestSpec, shape: Shape) -> None:
    memory, kind = spec.resources.memory, shape.isolation.value
    if memory is not None and memory < shape.min_memory:
        raise Invalid(
            f"a {kind} cannot boot with {format_size(memory)} of memory",
            hint=f"give it {format_size(shape.min_memory)} or more, or use --as container",
        )
    if vcpus(spec.resources) > MAX_CPUS:
        raise Invalid(f"a {kind} has at most {MAX_CPUS} CPUs", hint="ask for fewer with --cpus")
    rate = spec.resources.io_limit
    if rate and rate < LEAST_RATE:
        raise Invalid(
            f"{format_size(rate)} a second are too little for the disk of a {kind}",
            hint=f"its programs would not come in: allow {format_size(LEAST_RATE)} or more",
        )
    if spec.disk_size is not None and not MIN_DISK <= spec.disk_size <= MAX_DISK:
        raise Invalid(
            f"a disk of {format_size(spec.disk_size)} is out of range",
            hint=f"from {format_size(MIN_DISK)} to {format_size(MAX_DISK)}",
        )
    if spec.shm_size is not None and spec.shm_size <= 0:
        raise Invalid(f"--shm-size {spec.shm_size} is out of range", hint="write a size as 64m")


def _check_sysctls(spec: GuestSpec) -> None:
    for name, value in spec.sysctls.items():
        plain = name.replace(".", "").replace("_", "").replace("-", "")
        if not (plain.isascii() and plain.isalnum()) or ".." in name or len(name) > 200:
            raise Invalid(
                f"invalid kernel parameter {name[:80]!r}",
                hint="write NAME=VALUE, as net.core.somaxconn=1024",
            )
        if "\0" in value or "\n" in value or len(value) > 4096:
            raise Invalid(f"invalid value of the kernel parameter {name}")


def _check_mounts(spec: GuestSpec, shape: Shape) -> None:
    seen: set[str] = set()
    for one in spec.mounts:
        mount.check_target(one.target)
        place = process.clean(one.target)
        if place in seen:
            raise Invalid(
                f"two mounts on {one.target[:100]!r}", hint="mount one thing on one place"
            )
        seen.add(place)
        if _US in one.target:
            raise Invalid(f"invalid mount target {one.target[:100]!r}")
        if one.kind is MountKind.TMPFS:
            mount.check_tmpfs(one.options, size=one.size, mode=one.mode)
            continue
        mount.check_propagation(one.propagation)
        if one.propagation not in {"private", "rprivate"}:
            raise Unsupported(
                f"mounts are not propagated into a {shape.isolation.value}",
                hint="leave out the propagation, or use --as container",
            )


# --- plan -------------------------------------------------------------------------------------


def plan(start: Start, shape: Shape, host: MachineHost, room: Room) -> Plan:
    """The launch of a machine, which can grow into ``room``."""
    _check_start(start, shape)
    spec = start.guest.spec
    cards = links(start)
    mounts = sorted(start.mounts, key=lambda one: process.clean(one.target).count("/"))
    shared = tuple(one for one in mounts if one.kind is not MountKind.TMPFS)
    shares = tuple(_share(number, one) for number, one in enumerate(shared))
    memory = memory_of(spec.resources, shape)
    argv = machine.argv(
        machine.Machine(
            board=shape.board,
            name=f"wirt-{short(start.guest.id)}",
            accelerator=host.accelerator,
            memory=memory,
            vcpus=vcpus(spec.resources),
            macs=tuple(card.mac for card in cards),
            tags=tuple(share.tag for share in shares),
            tsc_khz=host.tsc_khz if _needs_counter(shape, host) else None,
            disk_rate=spec.resources.io_limit or 0,
            more_memory=room.memory,
            more_vcpus=room.cpus,
        )
    )
    tags = {id(one): share.tag for one, share in zip(shared, shares, strict=True)}
    config = [
        *_identity(start),
        *_process(start),
        *(("mount", _mount(one, tags.get(id(one), ""))) for one in mounts),
        *((one.kind, _given(one)) for one in start.given),
        *(("interface", _interface(card)) for card in cards),
    ]
    launch = LaunchGuest(
        id=start.guest.id,
        tty=spec.tty,
        stdin=spec.stdin_open,
        stdin_once=spec.stdin_once,
        network="private",
        log_size=spec.log.size,
        log_files=spec.log.files,
        links=cards,
        ports=ports(start),
        files=dict(start.files),
        resources=host_resources(spec.resources, memory, len(shares)),
        machine=MachinePlan(
            argv=argv,
            image_id=start.image.id,
            agent_config=base64.b64encode(encode_record(config)).decode(),
            disk_size=spec.disk_size or DEFAULT_DISK,
            shares=shares,
            fills=tuple(VolumeFill(volume=m.volume, target=m.target) for m in mounts if m.fill),
            layers=start.image.chain_ids if any(m.fill for m in mounts) else (),
            kvm=host.accelerator.name == "kvm",
        ),
    )
    return Plan(launch=launch, accelerator=host.accelerator.name)


def _check_start(start: Start, shape: Shape) -> None:
    if start.network != "private":
        raise Unsupported(
            f"a {shape.isolation.value} has a network of its own", hint="use --as container"
        )
    if start.image.architecture not in {"amd64", "x86_64", ""}:
        raise Unsupported(f"the image is for {start.image.architecture}, machines are for amd64")


def is_early_end(error: WirtError) -> bool:
    """Whether a machine with KVM ended, or was given up, before its agent ran anything: that is how
    a keeper tells it. What the agent itself refuses has another number, or none."""
    facts = error.facts
    early = (facts.get("errno"), facts.get("exit")) == (errno.EIO, 125)
    return early and facts.get("accelerator") == "kvm"


def why(error: WirtError) -> str:
    """The reason for emulation from such an end; its words are QEMU's or the guest's."""
    last = "".join(c if c.isprintable() else "?" for c in error.message)
    return f"a machine ended with KVM before its agent answered: {last[:200]}"


def _identity(start: Start) -> Iterable[tuple[str, str]]:
    spec = start.guest.spec
    yield "hostname", spec.hostname or short(start.guest.id)
    yield from (("root", "/dev/vda"), ("disk", "/dev/vdb"), ("rootfs", "erofs"))
    yield "read_only", str(int(spec.read_only))
    yield "shm_size", str(spec.shm_size or DEFAULT_SHM)
    for name, path in FILES.items():
        if name in start.files:
            yield "file", f"{path}{_US}{start.files[name]}"
    for name, value in {**SYSCTLS, **spec.sysctls}.items():
        yield "sysctl", f"{name}{_US}{value}"


def _process(start: Start) -> Iterable[tuple[str, str]]:
    spec, own = start.guest.spec, start.process
    process.check_argv(own.argv)
    process.check_env(own.env)
    process.check_cwd(own.working_dir or "/")
    yield from (("argv", word) for word in own.argv)
    yield from (("env", entry) for entry in own.env)
    yield "cwd", process.clean(own.working_dir or "/")
    yield "user", own.user
    yield "tty", str(int(spec.tty))
    yield "stdin", str(int(spec.stdin_open))
    yield "stop_signal", str(own.stop_signal)
    if start.idle:
        yield from (("idle", "1"), ("traceless", "1"))
    for name, (soft, hard) in sorted(spec.ulimits.items()):
        yield "ulimit", f"{name}{_US}{soft}{_US}{hard}"
    if spec.cap_drop:
        yield "caps", f"{capabilities(spec.cap_add, spec.cap_drop):x}"
    if spec.resources.pids is not None and spec.resources.pids > 0:
        yield "pids", str(spec.resources.pids)
    if parse_options(spec.security_opt).no_new_privileges:
        yield "no_new_privs", "1"


def capabilities(add: Iterable[str], drop: Iterable[str]) -> int:
    """The bit set of what is kept. A machine's root has all, so only dropping changes anything."""
    added, dropped = frozenset(add), frozenset(drop)
    kept = frozenset(CAPABILITIES)
    if "ALL" in dropped and "ALL" not in added:
        kept = added
    else:
        kept -= dropped
    return sum(1 << number for number, name in enumerate(CAPABILITIES) if name in kept)


def _share(number: int, one: ResolvedMount) -> Share:
    return Share(
        tag=f"fs{number}",
        volume=one.volume if one.kind is MountKind.VOLUME else "",
        source="" if one.kind is MountKind.VOLUME or one.prepared is not None else one.source,
        read_only=one.read_only,
        prepared=one.prepared,
        file=one.is_file,
        make=one.make,
    )


def _mount(one: ResolvedMount, tag: str) -> str:
    target = process.clean(one.target)
    if one.kind is MountKind.TMPFS:
        made = mount.tmpfs_mount(
            target, size=one.size, mode=one.mode, options=one.options, read_only=one.read_only
        )
        words = made["options"]
        assert isinstance(words, list)
        return _US.join(("tmpfs", target, *(word for word in words if word != "rprivate")))
    options = [*(["ro"] if one.read_only else [])]
    if one.prepared is not None:
        options += ["nosuid", "nodev"]
    if one.is_file or one.prepared is not None:
        options.append("only=it")
    if one.discard:
        options.append("discard")
    return _US.join((tag, target, *options))


def _given(one: Given) -> str:
    owner = map(str, (one.mode, one.uid, one.gid))
    return _US.join((process.clean(one.target), *owner))


def _interface(card: LinkPlan) -> str:
    return _US.join((card.interface, card.address, card.gateway, card.mac, str(card.mtu)))
