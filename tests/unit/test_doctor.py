"""What the doctor says of hosts that we do not have."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from typing import Any

import pytest

from container_values import HOST
from wirt.daemon.doctor import show
from wirt.host.symptoms import KINDS, SYMPTOMS, Host, judge
from wirt.linux.cgroup import Mode
from wirt.linux.features import CAPABILITIES
from wirt.qemu.accel import Accelerator, emulation
from wirt.qemu.host import MachineHost

KVM = MachineHost(
    accelerator=Accelerator(name="kvm", cpu="host", reason="the guest kernel booted"),
    kernel="6.1.0",
    qemu="7.2.0",
    shares=True,
)
GOOD = Host(
    facts=replace(HOST, bounding=frozenset(CAPABILITIES), cgroup=Mode.V2, kernel=(6, 1)),
    machine=KVM,
    programs={"crun": "/usr/bin/crun", "nft": "/sbin/nft", "mkfs.erofs": "/bin/e", "ps": "/bin/ps"},
    overlay=True,
    file_system="ext4",
    disk_free=2**36,
    memory_free=2**33,
    forwarding=True,
    null=True,
    kvm_device=True,
    seccomp_problem=None,
    helper=True,
    native=True,
)


def facts(**changes: Any) -> Host:
    return replace(GOOD, facts=replace(GOOD.facts, **changes))


def without(program: str) -> Host:
    return replace(GOOD, programs={**GOOD.programs, program: None})


def test_a_good_host_has_no_complaint() -> None:
    report = judge(GOOD)
    assert report.kinds == dict.fromkeys(KINDS, "works")
    assert {finding.status for finding in report.findings} == {"ok"}
    assert len(report.findings) == len(SYMPTOMS)
    assert len({finding.name for finding in report.findings}) == len(SYMPTOMS)
    assert "cure" not in show(report)


NO_MACHINE = MachineHost(
    accelerator=emulation("x"), problem="QEMU is not installed", cure="apt-get install"
)
NO_RESOURCE = frozenset(CAPABILITIES) - {"SYS_RESOURCE"}
ILL: list[tuple[str, Host, str, set[str]]] = [
    # symptom, host, status, kinds that cannot run
    ("helper", replace(GOOD, helper=False), "warn", set()),
    ("cgroups", facts(cgroup=Mode.NONE), "fail", set(KINDS)),
    ("cgroups", facts(controllers=frozenset({"cpu", "pids"})), "warn", set()),
    ("cgroups", facts(swap_limit=False), "warn", set()),
    ("cgroups", facts(bounding=NO_RESOURCE, rlimits={"memlock": 2**23}), "fail", {"container"}),
    ("capabilities", facts(bounding=frozenset()), "fail", set(KINDS)),
    ("capabilities", facts(bounding=frozenset(CAPABILITIES) - {"MKNOD"}), "warn", set()),
    ("capabilities", facts(bounding=NO_RESOURCE), "warn", set()),
    ("limits", facts(rlimits={"nofile": 1024}), "warn", set()),
    ("crun", without("crun"), "fail", {"container"}),
    ("seccomp", replace(GOOD, seccomp_problem="libseccomp is missing"), "fail", {"container"}),
    ("overlay", replace(GOOD, overlay=False), "fail", {"container"}),
    ("user namespaces", facts(user_namespaces=False), "warn", set()),
    ("user namespaces", replace(GOOD, file_system="nfs4"), "warn", set()),
    ("user namespaces", facts(kernel=(5, 10)), "warn", set()),
    ("network", without("nft"), "fail", set(KINDS)),
    ("machines", replace(GOOD, machine=NO_MACHINE), "fail", {"microvm", "vm"}),
    ("kvm", replace(GOOD, machine=replace(KVM, accelerator=emulation("slow"))), "warn", set()),
    ("erofs", without("mkfs.erofs"), "fail", {"microvm", "vm"}),
    ("shared folders", replace(GOOD, machine=replace(KVM, shares=False)), "warn", set()),
    ("native programs", replace(GOOD, native=False), "fail", set(KINDS)),
    ("memory", replace(GOOD, memory_free=2**28), "warn", set()),
    ("disk", replace(GOOD, disk_free=2**28), "warn", set()),
    ("ps", without("ps"), "warn", set()),
    ("/dev/null", replace(GOOD, null=False), "fail", set()),
]


@pytest.mark.parametrize(("name", "host", "status", "broken"), ILL)
def test_each_illness_is_named_with_its_cure(
    name: str, host: Host, status: str, broken: set[str]
) -> None:
    report = judge(host)
    (finding,) = [one for one in report.findings if one.name == name]
    assert finding.status == status
    assert finding.cure
    assert finding.means
    assert {kind for kind, verdict in report.kinds.items() if verdict != "works"} == broken
    text = show(report)
    assert finding.message in text
    assert f"cure: {finding.cure}" in text


def test_every_symptom_has_an_illness_here() -> None:
    assert {finding.name for finding in judge(GOOD).findings} == {name for name, *_ in ILL}


def test_off_forwarding_is_no_illness() -> None:
    report = judge(replace(GOOD, forwarding=False))
    assert {finding.status for finding in report.findings} == {"ok"}


def test_the_report_is_json() -> None:
    report = judge(replace(GOOD, machine=NO_MACHINE))
    decoded = json.loads(json.dumps(dataclasses.asdict(report)))
    assert decoded["kinds"]["vm"] == "no: QEMU is not installed"
    assert set(decoded["findings"][0]) == {"name", "status", "message", "cure", "means"}
