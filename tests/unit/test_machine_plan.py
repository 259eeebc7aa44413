"""The machine engines' plans: golden ones, what each wish becomes, and refusals with a hint."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from container_values import ENDPOINT, PROCESS, SECOND, start
from machine_values import EMULATING, HARDWARE, config_of, microvm, vm
from wirt.engine.protocol import ResolvedMount
from wirt.errors import Invalid, Unavailable, Unsupported, WirtError
from wirt.model.guest import GuestSpec
from wirt.model.network import PortMap
from wirt.model.resources import Resources
from wirt.model.volume import Mount, MountKind
from wirt.qemu.accel import emulation
from wirt.qemu.host import MachineHost

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
MIB = 1 << 20
MOUNTS = (
    ResolvedMount(kind=MountKind.TMPFS, target="/run", size=1 << 20, mode=0o700, options=("exec",)),
    ResolvedMount(
        kind=MountKind.VOLUME, target="/data/deep", source="/var/lib/wirt/volumes/v/_data",
        volume="v", fill=True,
    ),
    ResolvedMount(
        kind=MountKind.BIND, target="/data", source="/srv/data", read_only=True, make=True
    ),
    ResolvedMount(kind=MountKind.BIND, target="/etc/app,1", source="/srv/app", is_file=True),
)  # fmt: skip
EVERYTHING = GuestSpec(
    image="busybox",
    tty=True,
    stdin_open=True,
    stdin_once=True,
    hostname="db",
    read_only=True,
    init=True,
    cap_add=("NET_ADMIN",),
    cap_drop=("MKNOD", "SYS_MODULE"),
    security_opt=("no-new-privileges", "seccomp=unconfined"),
    ulimits={"nofile": (1024, 1_048_576), "core": (0, -1)},
    sysctls={"vm.swappiness": "10"},
    shm_size=1 << 20,
    disk_size=1 << 30,
    resources=Resources(
        cpu_millis=1500, cpu_shares=512, cpuset="0-1", memory=300_000_001, pids=100
    ),
)


def _seen(plan: Any) -> dict[str, Any]:
    """A plan as the golden files show it."""
    machine = plan.launch.machine
    return {
        "argv": list(machine.argv),
        "config": config_of(plan),
        "disk_size": machine.disk_size,
        "shares": [
            {f: getattr(s, f) for f in s.__struct_fields__ if getattr(s, f)} for s in machine.shares
        ],
        "fills": [[f.volume, f.target] for f in machine.fills],
        "layers": list(machine.layers),
        "resources": {k: v for k, v in asdict(plan.launch.resources).items() if v is not None},
    }


@pytest.mark.parametrize("name", ["microvm_plain", "vm_plain", "microvm_everything"])
def test_golden_plans(name: str) -> None:
    engine = vm() if name.startswith("vm") else microvm()
    if name.endswith("everything"):
        begin = start(EVERYTHING, mounts=MOUNTS)
        begin = replace(begin, guest=replace(begin.guest, endpoints=(ENDPOINT, SECOND)))
        begin = replace(begin, bridges={**begin.bridges, SECOND.network_id: "wirt1"})
    else:
        begin = start()
    engine.check(begin.guest.spec)
    plan = engine.plan(begin)
    text = json.dumps(_seen(plan), indent=1, sort_keys=True) + "\n"
    path = GOLDEN / f"{name}.json"
    if os.environ.get("WIRT_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()
    assert plan == engine.plan(begin), "planning is pure"
    assert plan.accelerator == "tcg"


def test_every_place_in_the_arguments_is_one_that_the_helper_fills() -> None:
    begin = start(EVERYTHING, mounts=MOUNTS)
    plan = microvm().plan(begin)
    assert plan.launch.machine is not None
    words = " ".join(plan.launch.machine.argv)
    known = ("agent", "qmp", "kernel", "initrd", "root", "disk", "tap0", "fs0", "fs1", "fs2")
    for name in known:
        assert words.count(f"{{{name}}}") == 1, name
        words = words.replace(f"{{{name}}}", "")
    assert "{" not in words


def test_hardware_needs_no_counter_and_says_so() -> None:
    plan = microvm(HARDWARE).plan(start())
    assert plan.launch.machine is not None
    assert plan.accelerator == "kvm"
    assert plan.launch.machine.kvm
    words = " ".join(plan.launch.machine.argv)
    assert "tsc_early_khz" not in words
    assert "-accel kvm -cpu host" in words
    assert "tsc_early_khz" not in " ".join(vm().plan(start()).launch.machine.argv)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("millis", "cpus"), [(None, 1), (10, 1), (1000, 1), (1001, 2), (1500, 2), (2000, 2)]
)
def test_virtual_cpus_are_as_many_as_the_limit_fills(millis: int | None, cpus: int) -> None:
    spec = GuestSpec(image="busybox", resources=Resources(cpu_millis=millis))
    plan = microvm().plan(start(spec))
    assert plan.launch.machine is not None
    argv = plan.launch.machine.argv
    assert argv[argv.index("-smp") + 1] == str(cpus)
    assert plan.launch.resources.cpu_millis == millis


@pytest.mark.parametrize(
    ("memory", "megabytes"), [(None, 256), (96 * MIB, 96), (97 * MIB, 98), (300_000_001, 288)]
)
def test_memory_is_the_machines_size_and_the_hosts_limit_is_above_it(
    memory: int | None, megabytes: int
) -> None:
    spec = GuestSpec(image="busybox", resources=Resources(memory=memory))
    plan = microvm().plan(start(spec))
    assert plan.launch.machine is not None
    argv = plan.launch.machine.argv
    assert argv[argv.index("-m") + 1] == f"{megabytes}M"
    assert plan.launch.resources.memory is not None
    assert plan.launch.resources.memory > megabytes * MIB
    assert plan.launch.resources.pids is None


@pytest.mark.parametrize(
    ("add", "drop", "lost", "kept"),
    [
        ((), ("ALL",), 0, None),
        (("CHOWN",), ("ALL",), 1, 0),
        ((), ("CHOWN", "NET_RAW"), 0, 1),
        (("ALL",), ("NET_RAW",), 13, 0),
    ],
)
def test_capabilities_are_dropped_from_all(
    add: tuple[str, ...], drop: tuple[str, ...], lost: int, kept: int | None
) -> None:
    plan = microvm().plan(start(GuestSpec(image="busybox", cap_add=add, cap_drop=drop)))
    mask = int(config_of(plan)["caps"][0], 16)
    assert mask >> lost & 1 == 0
    assert kept is None or mask >> kept & 1 == 1


def test_without_dropping_nothing_is_said_of_capabilities() -> None:
    plan = microvm().plan(start(GuestSpec(image="busybox", cap_add=("SYS_ADMIN",))))
    assert "caps" not in config_of(plan)


@pytest.mark.parametrize(
    ("spec", "words", "hint"),
    [
        ({"network_mode": "host"}, "--network host", "--as container"),
        ({"network_mode": "guest:" + "a" * 64}, "--network container:", "--as container"),
        ({"userns": "private"}, "--userns", "--as container"),
        ({"security_opt": ('seccomp={"defaultAction":"x"}',)}, "seccomp", "--as container"),
        ({"security_opt": ("apparmor=x",)}, "apparmor", ""),
        (
            {"resources": Resources(memory=256 * MIB, memory_swap=512 * MIB)},
            "swap",
            "--as container",
        ),
        (
            {
                "mounts": (
                    Mount(kind=MountKind.BIND, target="/a", source="/b", propagation="rshared"),
                )
            },
            "propagated",
            "--as container",
        ),
    ],
)
@pytest.mark.parametrize("engine", [microvm(), vm()])
def test_what_needs_the_hosts_kernel_is_refused_naming_who_can(
    engine: Any, spec: dict[str, Any], words: str, hint: str
) -> None:
    with pytest.raises(Unsupported) as caught:
        engine.check(GuestSpec(image="busybox", **spec))
    assert words in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    "spec",
    [
        {"resources": Resources(memory=64 * MIB)},
        {"resources": Resources(cpu_millis=64_001)},
        {"resources": Resources(cpuset="7")},
        {"resources": Resources(pids=-2)},
        {"disk_size": 1},
        {"disk_size": 1 << 60},
        {"shm_size": 0},
        {"sysctls": {"../x": "1"}},
        {"sysctls": {"a/b": "1"}},
        {"sysctls": {"a..b": "1"}},
        {"sysctls": {"": "1"}},
        {"sysctls": {"vm.swappiness": "1\n2"}},
        {"ulimits": {"nofiles": (1, 1)}},
        {"ulimits": {"nofile": (2, 1)}},
        {"cap_add": ("EVERYTHING",)},
        {"env": ("NOVALUE",)},
        {"working_dir": "relative"},
        {"command": ("a\0b",)},
        {"mounts": (Mount(kind=MountKind.TMPFS, target="/"),)},
        {"mounts": (Mount(kind=MountKind.TMPFS, target="/proc/x"),)},
        {"mounts": (Mount(kind=MountKind.TMPFS, target="/a\x1fro"),)},
        {"mounts": (Mount(kind=MountKind.TMPFS, target="/a", options=("size=x,exec",)),)},
        {"mounts": (Mount(kind=MountKind.TMPFS, target="/a"),) * 2},
    ],
)
def test_impossible_wishes_are_invalid(spec: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        microvm().check(GuestSpec(image="busybox", **spec))
    assert caught.value.message


def test_what_is_simply_true_of_a_machine_is_accepted() -> None:
    for wish in (
        GuestSpec(image="busybox", init=True, cap_add=("ALL",)),
        GuestSpec(image="busybox", security_opt=("seccomp=unconfined", "apparmor=unconfined")),
        GuestSpec(image="busybox", sysctls={"kernel.pid_max": "4096", "vm.max_map_count": "1"}),
        GuestSpec(image="busybox", network_mode="none", ports=(PortMap(guest_port=1),)),
        GuestSpec(image="busybox", resources=Resources(memory=256 * MIB, memory_swap=-1)),
    ):
        microvm().check(wish)
        vm().check(wish)


@pytest.mark.parametrize(
    "change",
    [
        {"network": "host"},
        {"network": "guest:" + "a" * 64},
    ],
)
def test_a_plan_for_a_foreign_network_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(Unsupported):
        microvm().plan(replace(start(), **change))  # type: ignore[arg-type]


def test_an_image_for_another_processor_is_refused() -> None:
    begin = start()
    with pytest.raises(Unsupported, match="arm64"):
        microvm().plan(replace(begin, image=replace(begin.image, architecture="arm64")))


def test_text_of_the_user_never_becomes_another_key() -> None:
    process = replace(PROCESS, argv=("sh", "a=b\nuser=0"), env=("A=x\x1fy",), user="bob")
    record = config_of(microvm().plan(start(process=process)))
    assert record["argv"] == ["sh", "a=b\nuser=0"]
    assert record["env"] == ["A=x\x1fy"]
    assert record["user"] == ["bob"]


def test_support_names_the_reason_and_the_cure() -> None:
    none = MachineHost(accelerator=emulation("-"), problem="QEMU is not installed", cure="apt-get")
    assert not microvm(none).probe().works
    assert microvm(none).probe().cure == "apt-get"
    blind = replace(EMULATING, tsc_khz=None)
    assert not microvm(blind).probe().works
    assert "--as vm" in microvm(blind).probe().cure
    assert vm(blind).probe().works
    good = microvm().probe()
    assert good.works
    assert good.detail["accelerator"] == "tcg"
    assert good.reason == "for tests"


def test_errors_are_of_the_one_hierarchy() -> None:
    with pytest.raises(WirtError):
        microvm().plan(start(process=replace(PROCESS, argv=())))


@pytest.mark.parametrize("make", [microvm, vm])
def test_kvm_is_given_up_for_a_machine_that_ended_early_and_for_nothing_else(make: Any) -> None:
    engine = make(replace(HARDWARE, tsc_khz=1))
    for other in (
        Unavailable("no root", errno=5, exit=125, accelerator="tcg"),
        Unavailable("no such program", errno=2, exit=127, accelerator="kvm"),
        Unavailable("no keeper", accelerator="kvm"),
        Unavailable("it ended"),
    ):
        assert not engine.give_up(other)
        assert engine.plan(start()).accelerator == "kvm"
    assert engine.give_up(Unavailable("MSR\x1b[2J", errno=5, exit=125, accelerator="kvm"))
    assert engine.plan(start()).accelerator == "tcg"
    assert engine.probe().reason.endswith("before its agent answered: MSR?[2J")
    engine.trust_again()
    assert engine.plan(start()).accelerator == "kvm"
