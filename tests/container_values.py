"""Values for the tests of the container engine: a host, an image, a guest, a start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wirt.crun.capability import DEFAULT
from wirt.crun.seccomp import Filters
from wirt.engine.container import ContainerEngine
from wirt.engine.protocol import Process, ResolvedMount, Start
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups, Mode
from wirt.linux.features import CAPABILITIES, RLIMITS, UNLIMITED, HostFacts
from wirt.model.guest import Guest, GuestSpec
from wirt.model.image import Image, ImageConfig
from wirt.model.network import Endpoint
from wirt.privileged.client import Helper

GUEST_ID = "0123456789abcdef" * 4
LAYOUT = Layout(name="wirt", state=Path("/var/lib/wirt"), run=Path("/run/wirt"))

HOST = HostFacts(
    bounding=frozenset(CAPABILITIES) - {"SYS_RESOURCE"},
    rlimits={name: UNLIMITED for name in RLIMITS} | {"nofile": 20_000, "nproc": 96_365},
    cgroup=Mode.HYBRID,
    controllers=frozenset({"cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer"}),
    cpus=frozenset({0, 1}),
    memory=8 * 2**30,
    kernel=(6, 1),
)

assert HOST.bounding >= DEFAULT


class FixedFilters(Filters):
    """Names the filter instead of compiling it: its bytes depend on the host's libseccomp."""

    def __init__(self) -> None:
        super().__init__(architecture="SCMP_ARCH_X86_64", kernel=(6, 1))

    def annotation(self, profile: str, capabilities: frozenset[str]) -> str:
        return f"<{profile or 'default'} for {len(capabilities)} capabilities>"


def engine(facts: HostFacts = HOST, *, filters: Filters | None = None) -> ContainerEngine:
    return ContainerEngine(
        layout=LAYOUT,
        facts=facts,
        filters=filters or FixedFilters(),
        init=Path("/usr/lib/wirt/wirt-init"),
        helper=Helper(LAYOUT.helper_socket),
        cgroups=Cgroups(v1={}, v2=None),
    )


def start(
    spec: GuestSpec | None = None,
    *,
    network: str = "private",
    mounts: tuple[ResolvedMount, ...] = (),
    process: Process | None = None,
    image: ImageConfig | None = None,
) -> Start:
    spec = spec or GuestSpec(image="busybox")
    guest = Guest(
        id=GUEST_ID,
        name="quiet_heron",
        spec=spec,
        image_id="sha256:" + "a" * 64,
        created_at=1,
        endpoints=(ENDPOINT,) if network == "private" else (),
    )
    return Start(
        guest=guest,
        image=Image(
            id=guest.image_id,
            manifest="sha256:" + "b" * 64,
            architecture="amd64",
            os="linux",
            config=image or ImageConfig(),
            diff_ids=("sha256:" + "c" * 64,),
            chain_ids=("sha256:" + "c" * 64,),
            size=1,
        ),
        process=process or PROCESS,
        network=network,
        mounts=mounts,
        bridges={ENDPOINT.network_id: "wirt0"},
        mtus={ENDPOINT.network_id: 1400},
        files={"hosts": "127.0.0.1 localhost\n", "hostname": "h\n", "resolv.conf": ""},
    )


ENDPOINT = Endpoint(
    network_id="d" * 64,
    network="bridge",
    address="10.210.0.2",
    prefix=24,
    gateway="10.210.0.1",
    mac="02:00:00:00:00:01",
    interface="eth0",
)
PROCESS = Process(
    argv=("sh", "-c", "true"),
    env=("PATH=/bin", "HOSTNAME=h"),
    working_dir="/srv/",
    user="app",
    stop_signal=15,
)
SECOND = replace(ENDPOINT, network_id="e" * 64, interface="eth1", address="10.211.0.2")
