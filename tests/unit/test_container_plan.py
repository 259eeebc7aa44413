"""The container engine's plan: golden configurations, and refusals with a hint."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from container_values import ENDPOINT, HOST, PROCESS, SECOND, engine, start
from needs import needs
from wirt.engine.container import first_id
from wirt.engine.protocol import ResolvedMount
from wirt.errors import Invalid, Unsupported, WirtError
from wirt.linux.cgroup import Mode
from wirt.linux.features import HostFacts
from wirt.model.guest import GuestSpec
from wirt.model.image import ImageConfig
from wirt.model.network import PortMap
from wirt.model.resources import Resources
from wirt.model.volume import Mount, MountKind

GOLDEN = Path(__file__).resolve().parent.parent / "golden"

EVERYTHING = GuestSpec(
    image="busybox",
    tty=True,
    stdin_open=True,
    stdin_once=True,
    hostname="db",
    read_only=True,
    init=True,
    cap_add=("NET_ADMIN", "SYS_RESOURCE"),
    cap_drop=("MKNOD",),
    security_opt=("no-new-privileges",),
    userns="private",
    ulimits={"nofile": (1024, 1_048_576), "core": (0, -1)},
    sysctls={"net.core.somaxconn": "1024", "kernel.shmmax": "65536"},
    annotations={"com.example.team": "db"},
    shm_size=1 << 20,
    resources=Resources(
        cpu_millis=1500, cpu_shares=512, cpuset="0-1", memory=64 << 20, memory_reservation=32 << 20,
        pids=100,
    ),
)  # fmt: skip
MOUNTS = (
    ResolvedMount(kind=MountKind.TMPFS, target="/run", size=1 << 20, mode=0o700, options=("exec",)),
    ResolvedMount(
        kind=MountKind.VOLUME, target="/data/deep", source="/var/lib/wirt/volumes/v/_data",
        volume="v", fill=True,
    ),
    ResolvedMount(
        kind=MountKind.BIND, target="/data", source="/srv/data", read_only=True, make=True,
        propagation="rslave",
    ),
    ResolvedMount(kind=MountKind.BIND, target="/etc/hosts", source="/srv/hosts", read_only=True),
)  # fmt: skip


def config_of(plan: Any) -> dict[str, Any]:
    value = json.loads(plan.launch.container.config)
    assert isinstance(value, dict)
    return value


def check_golden(name: str, value: object) -> None:
    """Compare with the stored text; ``WIRT_UPDATE_GOLDEN=1`` stores it anew."""
    path = GOLDEN / name
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    if os.environ.get("WIRT_UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert text == path.read_text(), f"see the difference with git diff {path.name}"


def test_a_plain_container() -> None:
    plan = engine().plan(start())
    check_golden("container_plain.json", config_of(plan))
    assert plan.warnings == ()


def test_a_container_with_every_wish() -> None:
    plan = engine().plan(start(EVERYTHING, mounts=MOUNTS))
    check_golden("container_everything.json", config_of(plan))
    assert any("SYS_RESOURCE" in warning for warning in plan.warnings)
    assert any("nofile=1024:1048576 lowered to 20000" in warning for warning in plan.warnings)
    assert len(plan.warnings) == 2


def test_the_plan_is_a_function_of_its_values() -> None:
    one = engine().plan(start(EVERYTHING, mounts=MOUNTS))
    two = engine().plan(start(EVERYTHING, mounts=MOUNTS))
    assert one == two


def test_the_launch_beside_the_configuration() -> None:
    launch = engine().plan(start(EVERYTHING, mounts=MOUNTS)).launch
    assert (launch.tty, launch.stdin, launch.stdin_once) == (True, True, True)
    assert launch.container is not None
    assert launch.machine is None
    assert launch.container.user == "app"
    assert [(f.volume, f.target) for f in launch.container.fills] == [("v", "/data/deep")]
    assert launch.container.binds_to_make == ("/srv/data",)
    assert launch.container.overlay.idmap == first_id(launch.id)
    assert launch.resources.memory_swap == 128 << 20
    link = launch.links[0]
    assert (link.bridge, link.address, link.gateway, link.mtu) == (
        "wirt0", "10.210.0.2/24", "10.210.0.1", 1400,
    )  # fmt: skip


def test_only_the_first_card_gets_the_default_route() -> None:
    one = start()
    guest = replace(one.guest, endpoints=(ENDPOINT, SECOND))
    two = replace(one, guest=guest, bridges={**one.bridges, SECOND.network_id: "wirt1"})
    gateways = [link.gateway for link in engine().plan(two).launch.links]
    assert gateways == ["10.210.0.1", ""]


def test_publish_all_adds_the_exposed_ports_not_named_already() -> None:
    spec = GuestSpec(image="i", ports=(PortMap(guest_port=80, host_port=8080),), publish_all=True)
    image = ImageConfig(exposed_ports=("80/tcp", "53/udp", "9000-9001", "0/tcp", "x", "70000/tcp"))
    launch = engine().plan(start(spec, image=image)).launch
    assert [(p.guest_port, p.host_port, p.protocol) for p in launch.ports] == [
        (80, 8080, "tcp"), (53, 0, "udp"), (9000, 0, "tcp"), (9001, 0, "tcp"),
    ]  # fmt: skip


def test_host_network_has_no_network_namespace_and_no_network_sysctls() -> None:
    config = config_of(engine().plan(start(network="host")))
    assert "network" not in {n["type"] for n in config["linux"]["namespaces"]}
    assert "sysctl" not in config["linux"]


def test_the_network_of_another_guest_keeps_its_sysctls() -> None:
    config = config_of(engine().plan(start(network="guest:" + "f" * 64)))
    assert "network" in {n["type"] for n in config["linux"]["namespaces"]}
    assert "sysctl" not in config["linux"]


def test_unconfined_has_no_filter() -> None:
    spec = GuestSpec(image="i", security_opt=("seccomp=unconfined",))
    assert config_of(engine().plan(start(spec)))["annotations"] == {}


def test_a_user_cannot_steer_crun_by_annotation() -> None:
    spec = GuestSpec(image="i", annotations={"run.oci.seccomp_bpf_data": "AAAA"})
    with pytest.raises(Invalid, match="reserved"):
        engine().check(spec)


def test_id_ranges_are_whole_and_below_the_sign_bit() -> None:
    for guest_id in ("0" * 64, "f" * 64, "0123456789abcdef" * 4):
        first = first_id(guest_id)
        assert first % 65536 == 0
        assert first >= 2**26
        assert first + 65536 < 2**31


def spec(**wish: Any) -> GuestSpec:
    return GuestSpec(image="busybox", **wish)


REFUSED: list[tuple[GuestSpec, type[WirtError], str]] = [
    (spec(command=("",)), Invalid, "no command"),
    (spec(command=("a\0b",)), Invalid, "NUL"),
    (spec(command=("x" * 131_072,)), Invalid, "too long"),
    (spec(command=("\udcff",)), Invalid, "not valid text"),
    (spec(env=("=x",)), Invalid, "invalid variable"),
    (spec(env=("PATH",)), Invalid, "invalid variable"),
    (spec(env=("A=\0",)), Invalid, "invalid variable"),
    (spec(env=("A=" + "x" * 10_000_000,)), Invalid, "too long"),
    (spec(env=tuple(f"A{n}=" + "x" * 100_000 for n in range(25))), Invalid, "too long"),
    (spec(working_dir="srv"), Invalid, "working directory"),
    (spec(working_dir="/proc/self/fd/7"), Invalid, "below /proc"),
    (spec(working_dir="/proc/1/root"), Invalid, "below /proc"),
    (spec(working_dir="//proc/./self/../1/cwd"), Invalid, "below /proc"),
    (spec(working_dir="/a\0"), Invalid, "working directory"),
    (spec(cap_add=("CAP_NET_ADMIN",)), Invalid, "unknown capability"),
    (spec(cap_drop=("net_raw",)), Invalid, "unknown capability"),
    (spec(ulimits={"files": (1, 1)}), Invalid, "unknown limit"),
    (spec(ulimits={"nofile": (2, 1)}), Invalid, "above the hard"),
    (spec(ulimits={"nofile": (-1, 1)}), Invalid, "above the hard"),
    (spec(ulimits={"nofile": (-2, 1)}), Invalid, "out of range"),
    (spec(sysctls={"kernel.core_pattern": "|/x"}), Unsupported, "change the host"),
    (spec(sysctls={"net/ipv4/ip_forward": "1"}), Invalid, "invalid kernel parameter"),
    (spec(sysctls={"net...": "1"}), Invalid, "invalid kernel parameter"),
    (spec(sysctls={"net.ipv4.ip_forward": "1\n"}), Invalid, "invalid value"),
    (spec(sysctls={"net.core.somaxconn": "9"}, network_mode="host"), Invalid, "not this guest's"),
    (spec(sysctls={"net.core.somaxconn": "9"}, network_mode="guest:x"), Invalid, "not this"),
    (spec(mounts=(Mount(kind=MountKind.TMPFS, target="/"),)), Invalid, "'/'"),
    (spec(mounts=(Mount(kind=MountKind.TMPFS, target="//."),)), Invalid, "'/'"),
    (spec(mounts=(Mount(kind=MountKind.TMPFS, target="/proc"),)), Invalid, "/proc"),
    (spec(mounts=(Mount(kind=MountKind.TMPFS, target="/proc/sys"),)), Invalid, "/proc"),
    (spec(mounts=(Mount(kind=MountKind.TMPFS, target="data"),)), Invalid, "mount target"),
    (spec(mounts=(Mount(kind=MountKind.BIND, source="/x", target="/../h"),)), Invalid, "'..'"),
    (
        spec(mounts=(Mount(kind=MountKind.TMPFS, target="/a"),
                     Mount(kind=MountKind.VOLUME, target="/a/"))),
        Invalid, "two mounts",
    ),
    (
        spec(mounts=(Mount(kind=MountKind.TMPFS, target="/a", options=("size=1m,uid=0",)),)),
        Invalid, "tmpfs option",
    ),
    (
        spec(mounts=(Mount(kind=MountKind.BIND, source="/x", target="/a", propagation="up"),)),
        Invalid, "propagation",
    ),
    (spec(resources=Resources(cpu_millis=2001)), Invalid, "out of range"),
    (spec(resources=Resources(cpu_millis=9)), Invalid, "out of range"),
    (spec(resources=Resources(cpu_shares=1)), Invalid, "out of range"),
    (spec(resources=Resources(cpuset="0-2")), Invalid, "no CPU 2"),
    (spec(resources=Resources(cpuset="0-99999")), Invalid, "invalid list"),
    (spec(resources=Resources(cpuset="")), Invalid, "invalid list"),
    (spec(resources=Resources(memory=6 * 2**20 - 1)), Invalid, "too small"),
    (spec(resources=Resources(memory_swap=2**30)), Invalid, "without one of memory"),
    (spec(resources=Resources(memory=2**30, memory_swap=2**29)), Invalid, "less than memory"),
    (
        spec(resources=Resources(memory=2**30, memory_reservation=2**31)),
        Invalid, "reservation",
    ),
    (spec(resources=Resources(pids=-2)), Invalid, "out of range"),
    (spec(resources=Resources(memory=2**63)), Invalid, "out of range"),
    (spec(resources=Resources(memory=2**30, memory_swap=2**70)), Invalid, "out of range"),
    (spec(resources=Resources(memory=-1)), Invalid, "too small"),
    (spec(shm_size=2**63), Invalid, "--shm-size"),
    (spec(mounts=(Mount(kind=MountKind.TMPFS, target="/a", size=0),)), Invalid, "out of range"),
    (spec(mounts=(Mount(kind=MountKind.TMPFS, target="/a", mode=0o10000),)), Invalid, "out of"),
    (spec(disk_size=2**30), Unsupported, "disk"),
    (spec(shm_size=0), Invalid, "--shm-size"),
    (spec(userns="keep-id"), Invalid, "--userns"),
    (spec(userns="private", network_mode="host"), Invalid, "network of its own"),
    (spec(security_opt=("seccomp=",)), Invalid, "--security-opt"),
    (spec(security_opt=("apparmor=mine",)), Unsupported, "not supported"),
    (spec(security_opt=("magic",)), Invalid, "unknown --security-opt"),
]  # fmt: skip


@pytest.mark.parametrize(("wish", "kind", "words"), REFUSED, ids=lambda v: str(v)[:60])
def test_refused(wish: GuestSpec, kind: type[WirtError], words: str) -> None:
    with pytest.raises(kind) as caught:
        engine().check(wish)
    assert words in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "wish",
    [
        spec(),
        EVERYTHING,
        spec(working_dir="/proc"),
        spec(working_dir="/processes/x"),
        spec(env=("A=\nB", "B==x", "C=")),
        spec(resources=Resources(memory=6 * 2**20, memory_swap=-1, pids=-1, cpuset="1")),
        spec(mounts=(Mount(kind=MountKind.TMPFS, target="/procfs"),)),
        spec(security_opt=("apparmor=unconfined", "label=disable", "no-new-privileges:true")),
        spec(cap_add=("ALL",), cap_drop=("SYS_ADMIN",)),
    ],
)
def test_accepted(wish: GuestSpec) -> None:
    assert engine().check(wish) == engine().plan(start(wish)).warnings


def test_what_is_cut_is_told_when_the_guest_is_made() -> None:
    told = engine().check(EVERYTHING)
    assert any("SYS_RESOURCE" in warning for warning in told)
    assert any("nofile" in warning for warning in told)
    assert engine().check(spec()) == ()


def test_a_limit_without_its_controller_is_unsupported() -> None:
    facts = replace(HOST, controllers=frozenset({"cpu"}))
    with pytest.raises(Unsupported, match="memory"):
        engine(facts).check(spec(resources=Resources(memory=2**30)))


def test_an_evil_working_directory_from_the_image_is_refused_at_the_start() -> None:
    with pytest.raises(Invalid, match="below /proc"):
        engine().plan(start(process=replace(PROCESS, working_dir="/proc/self/fd/8")))


@needs("crun")
def test_version_two_without_the_right_to_lock_memory_runs_no_container() -> None:
    assert engine().probe().works
    support = engine(replace(HOST, cgroup=Mode.V2, rlimits={"memlock": 2**23})).probe()
    assert not support.works
    assert "LimitMEMLOCK" in support.cure
    assert engine(replace(HOST, cgroup=Mode.V2, rlimits={})).probe().works
    assert not engine(replace(HOST, cgroup=Mode.NONE)).probe().works


def test_limits_in_the_terms_that_crun_converts_for_version_two() -> None:
    wish = Resources(cpu_millis=250, cpu_shares=1024, memory=2**26, pids=-1)
    config = config_of(engine(replace(HOST, cgroup=Mode.V2)).plan(start(spec(resources=wish))))
    limits = config["linux"]["resources"]
    assert limits["cpu"] == {"quota": 25_000, "period": 100_000}
    assert limits["unified"] == {"cpu.weight": "100"}
    assert limits["memory"] == {"limit": 2**26, "swap": 2**27}
    assert "pids" not in limits
    first = config_of(engine(replace(HOST, cgroup=Mode.V1)).plan(start(spec(resources=wish))))
    assert first["linux"]["resources"]["cpu"]["shares"] == 1024
    assert "unified" not in first["linux"]["resources"]


@pytest.mark.parametrize(
    ("mode", "memory", "files"),
    [
        (Mode.V1, 2**25, None),
        (Mode.HYBRID, 2**25, None),
        (Mode.V2, 2**26, {"memory.high": "33554432", "memory.max": "33554432"}),
    ],
)
def test_a_first_fence_is_a_limit_of_the_governors(
    mode: Mode, memory: int, files: dict[str, str] | None
) -> None:
    """What the user said stays in the other keys: it is known again without a governor."""
    asked = start(spec(resources=Resources(memory=2**26)))
    plan = engine(replace(HOST, cgroup=mode)).plan(replace(asked, fence=2**25))
    limits = config_of(plan)["linux"]["resources"]
    assert limits["memory"] == {"limit": memory, "swap": 2**27}
    assert limits.get("unified") == files


def test_without_swap_accounting_only_memory_is_limited() -> None:
    facts = replace(HOST, swap_limit=False)
    plan = engine(facts).plan(start(spec(resources=Resources(memory=2**26, memory_swap=2**27))))
    assert config_of(plan)["linux"]["resources"]["memory"] == {"limit": 2**26}
    assert plan.warnings == ("this kernel cannot limit swap: only memory is limited",)


DISKS = replace(HOST, controllers=HOST.controllers | {"blkio"}, disks=("8:0", "254:16"))


def test_a_limit_of_disks_is_for_each_of_them_and_its_weakness_is_told() -> None:
    plan = engine(DISKS).plan(start(spec(resources=Resources(io_limit=5))))
    rates = [{"major": 8, "minor": 0, "rate": 5}, {"major": 254, "minor": 16, "rate": 5}]
    assert config_of(plan)["linux"]["resources"]["blockIO"] == {
        "throttleReadBpsDevice": rates,
        "throttleWriteBpsDevice": rates,
    }
    assert [w for w in plan.warnings if "written through the host's cache" in w]
    without = engine(DISKS).plan(start(spec(resources=Resources(io_limit=0))))
    assert "blockIO" not in config_of(without)["linux"]["resources"]
    assert without.warnings == ()
    later = replace(DISKS, cgroup=Mode.V2, controllers=HOST.controllers | {"io"})
    assert engine(later).check(spec(resources=Resources(io_limit=5))) == ()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (replace(DISKS, disks=()), "what guests write is on none"),
        (replace(DISKS, controllers=HOST.controllers), "cannot limit blkio"),
        (replace(DISKS, cgroup=Mode.V2), "cannot limit io"),
    ],
)
def test_disks_are_limited_only_where_it_has_an_effect(facts: HostFacts, said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        engine(facts).check(spec(resources=Resources(io_limit=5)))
