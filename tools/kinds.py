"""The page of what each kind of guest takes, asked of the engines themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wirt.crun.seccomp import Filters
from wirt.engine.container import ContainerEngine
from wirt.engine.microvm import MicrovmEngine
from wirt.engine.protocol import Engine
from wirt.engine.vm import VmEngine
from wirt.errors import WirtError
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups, Mode
from wirt.linux.features import CAPABILITIES, RLIMITS, UNLIMITED, HostFacts
from wirt.model.guest import GuestSpec, HealthCheck, RestartName, RestartPolicy
from wirt.model.network import Attachment, PortMap
from wirt.model.resources import Resources
from wirt.model.volume import Mount, MountKind
from wirt.privileged.client import Helper
from wirt.qemu.accel import emulation
from wirt.qemu.host import MachineHost, Machines

MIB = 1024 * 1024

WISHES: tuple[tuple[str, dict[str, object]], ...] = (
    ("-i, -t, -d, --rm, --name, --cidfile", {"tty": True, "stdin_open": True}),
    ("-e, --env-file, -w, -u, --entrypoint", {"env": ("A=b",), "user": "1:1", "working_dir": "/x"}),
    ("--hostname, --label, --add-host, --dns", {"hostname": "h", "dns": ("10.0.0.1",)}),
    ("-v NAME:/x, --mount type=volume", {"mounts": (Mount(
        kind=MountKind.VOLUME, source="v", target="/x"),)}),
    ("-v /host:/x[:ro]", {"mounts": (Mount(kind=MountKind.BIND, source="/h", target="/x"),)}),
    ("-v /host:/x:rshared", {"mounts": (Mount(
        kind=MountKind.BIND, source="/h", target="/x", propagation="rshared"),)}),
    ("--tmpfs", {"mounts": (Mount(kind=MountKind.TMPFS, target="/x", size=MIB),)}),
    ("-p, -P", {"ports": (PortMap(guest_port=80, host_port=80),)}),
    ("--network NAME, --network-alias, --ip", {"attachments": (Attachment(network="n"),)}),
    ("--network none", {"network_mode": "none"}),
    ("--network host", {"network_mode": "host"}),
    ("--network container:NAME", {"network_mode": "guest:a"}),
    ("--restart", {"restart": RestartPolicy(name=RestartName.ALWAYS)}),
    ("--health-*", {"health": HealthCheck(test=("CMD", "true"))}),
    ("--cpus, --cpu-shares, --cpuset-cpus", {"resources": Resources(
        cpu_millis=500, cpu_shares=512, cpuset="0")}),
    ("-m", {"resources": Resources(memory=256 * MIB)}),
    ("--memory-swap above -m", {"resources": Resources(memory=256 * MIB, memory_swap=512 * MIB)}),
    ("--memory-reservation", {"resources": Resources(memory_reservation=64 * MIB)}),
    ("--cpu-reservation, --memory-shares, --group", {"resources": Resources(
        cpu_reservation=100, memory_shares=10), "group": "a"}),
    ("--io-limit", {"resources": Resources(io_limit=4 * MIB)}),
    ("--pids-limit", {"resources": Resources(pids=100)}),
    ("--read-only", {"read_only": True}),
    ("--cap-add, --cap-drop", {"cap_add": ("NET_ADMIN",), "cap_drop": ("ALL",)}),
    ("--security-opt no-new-privileges", {"security_opt": ("no-new-privileges",)}),
    ("--security-opt seccomp=unconfined", {"security_opt": ("seccomp=unconfined",)}),
    ("--security-opt seccomp=FILE", {"security_opt": (
        'seccomp={"defaultAction": "SCMP_ACT_ALLOW"}',)}),
    ("--userns private", {"userns": "private"}),
    ("--init", {"init": True}),
    ("--stop-signal, --stop-timeout", {"stop_signal": "INT", "stop_timeout": 3}),
    ("--ulimit", {"ulimits": {"nofile": (512, 1024)}}),
    ("--sysctl", {"sysctls": {"net.ipv4.ip_forward": "1"}}),
    ("--sysctl of the whole kernel", {"sysctls": {"vm.overcommit_memory": "1"}}),
    ("--shm-size", {"shm_size": 64 * MIB}),
)  # fmt: skip
"""Flags as people type them, and what each asks of a kind."""


def page() -> str:
    """Which flag each kind of guest takes, and in what words it refuses the others."""
    lines = [
        "# What each kind of guest takes",
        "",
        "Asked of the engines themselves on a host that has everything. What a kind cannot do is",
        "refused when the guest is created (exit code 125), with a hint that names what can.",
        "",
        "| flag | container | microvm | vm |",
        "| --- | --- | --- | --- |",
    ]
    refusals: list[str] = []
    engines = list(_engines())
    for flag, wish in WISHES:
        cells = []
        for engine in engines:
            said = _refusal(engine, wish)
            cells.append("refused" if said else "yes")
            if said:
                refusals.append(f"| `{flag}` | {engine.isolation.value} | {said} |")
        lines.append(f"| `{flag}` | {' | '.join(cells)} |")
    lines += ["", "| flag | kind | the refusal |", "| --- | --- | --- |", *refusals]
    lines += [
        "",
        "A running container also takes `update --pids-limit`, `network connect` and `disconnect`;",
        "a machine takes them when it is stopped. `update -m` and `update --cpus` act at once for",
        "all kinds, up to what a microVM was started with, and what a VM's host had at its start.",
    ]
    return "\n".join(lines) + "\n"


def _refusal(engine: Engine, wish: dict[str, object]) -> str:
    try:
        engine.check(replace(GuestSpec(image="busybox"), **wish))  # type: ignore[arg-type]
    except WirtError as error:
        return f"{error.message}; {error.hint}"
    return ""


class _NamedFilters(Filters):
    """Compiles nothing: whether a profile is taken does not depend on this host's library."""

    def annotation(self, profile: str, capabilities: frozenset[str]) -> str:
        return "filter"


def _engines() -> Iterator[Engine]:
    facts = HostFacts(
        bounding=frozenset(CAPABILITIES),
        rlimits=dict.fromkeys(RLIMITS, UNLIMITED),
        cgroup=Mode.V2,
        controllers=frozenset({"cpu", "cpuset", "memory", "pids", "io"}),
        cpus=frozenset({0, 1}),
        memory=8 * 2**30,
        disks=("8:0",),
    )
    layout = Layout(name="wirt", state=Path("/var/lib/wirt"), run=Path("/run/wirt"))
    helper = Helper(layout.helper_socket)
    host = Machines(
        MachineHost(accelerator=emulation("a page"), tsc_khz=1, kernel="6.1", shares=True)
    )
    yield ContainerEngine(
        layout=layout,
        facts=facts,
        filters=_NamedFilters(architecture="SCMP_ARCH_X86_64", kernel=(6, 1)),
        init=Path("/usr/lib/wirt/wirt-init"),
        helper=helper,
        cgroups=Cgroups(v1={}, v2=None),
    )
    yield MicrovmEngine(layout=layout, facts=facts, host=host, helper=helper)
    yield VmEngine(layout=layout, facts=facts, host=host, helper=helper)
