"""What the state of a host means for each kind of guest, and the cure. Pure, so that a test can ask
what would be said of another host.

One function a symptom, each returning a :class:`Finding`; :data:`SYMPTOMS` is their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from wirt.crun.capability import DEFAULT
from wirt.linux.cgroup import Mode
from wirt.linux.features import UNLIMITED, HostFacts
from wirt.model.units import format_size
from wirt.qemu.host import MachineHost

Status = Literal["ok", "warn", "fail"]

KINDS = ("container", "microvm", "vm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. ``message``: what was found; ``cure``: what would help, or empty.

    ``means``: by kind of guest, what follows from it; kinds that do not care are left out. A kind
    whose text begins with ``no:`` cannot run here.
    """

    name: str
    status: Status
    message: str
    cure: str = ""
    means: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What was seen. Sizes in bytes; ``programs``: path by name, or None.

    ``file_system``: type of the state directory's. ``null``: whether /dev/null is the null device,
    owned by root. ``helper``: it answers. ``init``: wirt-init and wirt-keeper are there.
    """

    facts: HostFacts
    machine: MachineHost
    programs: dict[str, str | None]
    overlay: bool
    file_system: str
    disk_free: int
    memory_free: int
    forwarding: bool
    null: bool
    kvm_device: bool
    seccomp_problem: str | None
    helper: bool
    native: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All findings; ``kinds``: by kind of guest ``works`` or the reason why it does not."""

    kinds: dict[str, str]
    findings: tuple[Finding, ...]


def _machines(text: str) -> dict[str, str]:
    return {"microvm": text, "vm": text}


def _all(text: str) -> dict[str, str]:
    return dict.fromkeys(KINDS, text)


def _helper(host: Host) -> Finding:
    if host.helper:
        return Finding(name="helper", status="ok", message="the root helper answers")
    return Finding(
        name="helper",
        status="warn",
        message="the root helper does not answer; what follows is judged from this process",
        cure="make up (from a checkout), or systemctl start wirt-helper",
        means=_all("nothing can be started until it answers"),
    )


_CONTROLLERS_CURE = {
    False: "enable the controllers with the kernel's command line (cgroup_enable=memory)",
    True: "enable the controllers with the kernel's command line (cgroup_enable=memory); in a "
    "container, move what is in the top group into a group of its own before wirt starts",
}
"""By whether the host has version 2, where a group with processes hands on nothing."""


def _cgroups(host: Host) -> Finding:
    facts = host.facts
    needed = {"memory", "pids", "cpu"}
    lacking = sorted(needed - facts.controllers)
    if facts.cgroup is Mode.NONE:
        return Finding(
            name="cgroups", status="fail", message="no control groups are mounted",
            cure="mount -t cgroup2 none /sys/fs/cgroup",
            means=_all("no: guests cannot be kept together"),
        )  # fmt: skip
    text = {
        Mode.V1: "control groups version 1",
        Mode.V2: "control groups version 2",
        Mode.HYBRID: "control groups version 1 with a version 2 tree beside it, which is hidden "
        "from crun",
    }[facts.cgroup]
    if not facts.loads_device_filters:
        return Finding(
            name="cgroups", status="fail",
            message=f"{text}; crun may not lift RLIMIT_MEMLOCK, which its device filter needs",
            cure="start the helper with LimitMEMLOCK=infinity, or with CAP_SYS_RESOURCE",
            means={"container": "no: devices could not be confined"},
        )  # fmt: skip
    if lacking:
        return Finding(
            name="cgroups", status="warn",
            message=f"{text}; without {', '.join(lacking)}",
            cure=_CONTROLLERS_CURE[facts.cgroup is Mode.V2],
            means=_all(f"no limits of {', '.join(lacking)}"),
        )  # fmt: skip
    if not facts.swap_limit:
        return Finding(
            name="cgroups", status="warn", message=f"{text}; swap cannot be limited",
            cure="boot with swapaccount=1",
            means={"container": "--memory-swap has no effect"},
        )  # fmt: skip
    return Finding(name="cgroups", status="ok", message=text)


_ESSENTIAL = DEFAULT | {"SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"}


def _capabilities(host: Host) -> Finding:
    bounding = host.facts.bounding
    lacking = sorted(_ESSENTIAL - bounding)
    if {"SYS_ADMIN", "NET_ADMIN"} & set(lacking):
        return Finding(
            name="capabilities", status="fail",
            message=f"the helper cannot have {', '.join(lacking)}",
            cure="run it as root outside a container, or with these capabilities",
            means=_all("no: namespaces, mounts and networks cannot be made"),
        )  # fmt: skip
    if lacking:
        return Finding(
            name="capabilities", status="warn",
            message=f"the bounding set lacks {', '.join(lacking)}",
            cure="give the helper its full bounding set",
            means={"container": f"root in a container does without {', '.join(lacking)}"},
        )  # fmt: skip
    if "SYS_RESOURCE" not in bounding:
        return Finding(
            name="capabilities", status="warn",
            message="the bounding set lacks SYS_RESOURCE",
            cure="run the helper with CAP_SYS_RESOURCE in its bounding set",
            means={
                "container": "--ulimit cannot go above this host's hard limits, and "
                "--cap-add SYS_RESOURCE has no effect"
            },
        )  # fmt: skip
    return Finding(name="capabilities", status="ok", message="all that guests may be given")


def _limits(host: Host) -> Finding:
    files = host.facts.rlimits.get("nofile", UNLIMITED)
    tasks = host.facts.rlimits.get("nproc", UNLIMITED)
    text = f"{_count(files)} open files, {_count(tasks)} processes for each user"
    if files < 4096 or tasks < 4096:
        return Finding(
            name="limits", status="warn", message=text,
            cure="raise nofile and nproc in /etc/security/limits.conf or the helper's unit",
            means=_all("few guests at once"),
        )  # fmt: skip
    return Finding(name="limits", status="ok", message=text)


def _count(limit: int) -> str:
    return "unlimited" if limit == UNLIMITED else str(limit)


def _crun(host: Host) -> Finding:
    path = host.programs["crun"]
    if path is None:
        return Finding(
            name="crun", status="fail", message="crun is not installed",
            cure="apt-get install crun", means={"container": "no: crun starts containers"},
        )  # fmt: skip
    return Finding(name="crun", status="ok", message=path)


def _seccomp(host: Host) -> Finding:
    if host.seccomp_problem is None:
        return Finding(name="seccomp", status="ok", message="libseccomp compiles filters")
    return Finding(
        name="seccomp", status="fail", message=host.seccomp_problem,
        cure="apt-get install libseccomp2",
        means={"container": "no: system calls could not be filtered"},
    )  # fmt: skip


def _overlay(host: Host) -> Finding:
    if host.overlay:
        return Finding(name="overlay", status="ok", message="the kernel has overlayfs")
    return Finding(
        name="overlay", status="fail", message="the kernel has no overlayfs",
        cure="modprobe overlay, or a kernel with CONFIG_OVERLAY_FS",
        means={"container": "no: layers cannot be stacked"},
    )  # fmt: skip


_IDMAPPED = {"ext4": (5, 12), "xfs": (5, 12), "btrfs": (5, 15), "tmpfs": (6, 3), "f2fs": (5, 18)}


def _user_namespaces(host: Host) -> Finding:
    if not host.facts.user_namespaces:
        return Finding(
            name="user namespaces", status="warn", message="the kernel allows none",
            cure="sysctl user.max_user_namespaces=65536",
            means={"container": "--userns private is refused"},
        )  # fmt: skip
    since = _IDMAPPED.get(host.file_system)
    if since is None or host.facts.kernel < since:
        return Finding(
            name="user namespaces", status="warn",
            message=f"{host.file_system} with this kernel has no idmapped mounts",
            cure="keep the state directory on ext4, xfs or btrfs, with Linux 5.15 or newer",
            means={"container": "--userns private cannot share the images' layers"},
        )  # fmt: skip
    return Finding(
        name="user namespaces", status="ok",
        message=f"user namespaces, and idmapped mounts on {host.file_system}",
    )  # fmt: skip


def _network(host: Host) -> Finding:
    if host.programs["nft"] is None:
        return Finding(
            name="network", status="fail", message="nft is not installed",
            cure="apt-get install nftables", means=_all("no: no way out and no published ports"),
        )  # fmt: skip
    if not host.forwarding:
        return Finding(
            name="network", status="ok",
            message="nft; forwarding is off and is switched on with the first network",
        )  # fmt: skip
    return Finding(name="network", status="ok", message="nft, and forwarding is on")


def _qemu(host: Host) -> Finding:
    machine = host.machine
    if machine.problem:
        return Finding(
            name="machines", status="fail", message=machine.problem, cure=machine.cure,
            means=_machines(f"no: {machine.problem}"),
        )  # fmt: skip
    return Finding(
        name="machines", status="ok",
        message=f"QEMU {machine.qemu} with the guest kernel {machine.kernel}",
    )  # fmt: skip


def _kvm(host: Host) -> Finding:
    chosen = host.machine.accelerator
    if host.machine.problem:
        there = "/dev/kvm is there, untried" if host.kvm_device else "there is no /dev/kvm"
        return Finding(name="kvm", status="warn", message=there, cure=host.machine.cure)
    if chosen.name == "kvm":
        return Finding(name="kvm", status="ok", message=f"KVM: {chosen.reason}")
    present = "/dev/kvm is there but unusable" if host.kvm_device else "there is no /dev/kvm"
    return Finding(
        name="kvm", status="warn", message=f"{present}: {chosen.reason}",
        cure="a host with hardware virtualization, or nested virtualization that works",
        means=_machines("runs emulated (TCG): correct, and several times slower"),
    )  # fmt: skip


def _erofs(host: Host) -> Finding:
    if host.programs["mkfs.erofs"] is None:
        return Finding(
            name="erofs", status="fail", message="mkfs.erofs is not installed",
            cure="apt-get install erofs-utils",
            means=_machines("no: an image cannot become a machine's root"),
        )  # fmt: skip
    return Finding(name="erofs", status="ok", message="mkfs.erofs makes the roots of machines")


def _shares(host: Host) -> Finding:
    if host.machine.shares or host.machine.problem:
        return Finding(name="shared folders", status="ok", message="virtiofsd")
    return Finding(
        name="shared folders", status="warn", message="virtiofsd is not installed",
        cure="apt-get install qemu-system-common",
        means=_machines("no folders or volumes of the host"),
    )  # fmt: skip


def _native(host: Host) -> Finding:
    if host.native:
        return Finding(name="native programs", status="ok", message="keeper and init are built")
    return Finding(
        name="native programs", status="fail", message="the keeper or the init is not built",
        cure="make native", means=_all("no: nothing would hold a guest's streams"),
    )  # fmt: skip


def _memory(host: Host) -> Finding:
    text = f"{format_size(host.memory_free)} free of {format_size(host.facts.memory)}"
    if host.memory_free < 512 * 2**20:
        return Finding(
            name="memory", status="warn", message=text, cure="end something, or add memory",
            means=_machines("a machine with 512 MiB would not fit"),
        )  # fmt: skip
    return Finding(name="memory", status="ok", message=text)


def _disk(host: Host) -> Finding:
    text = f"{format_size(host.disk_free)} free where the state lives"
    if host.disk_free < 2**30:
        return Finding(
            name="disk", status="warn", message=text,
            cure="remove unused images and volumes (wirt rmi, wirt volume prune), or add space",
            means=_all("images may not fit"),
        )  # fmt: skip
    return Finding(name="disk", status="ok", message=text)


def _processes(host: Host) -> Finding:
    if host.programs["ps"] is None:
        return Finding(
            name="ps", status="warn", message="ps is not installed", cure="apt-get install procps",
            means={"container": "wirt top does not work"},
        )  # fmt: skip
    return Finding(name="ps", status="ok", message="ps shows processes for wirt top")


def _null(host: Host) -> Finding:
    if host.null:
        return Finding(name="/dev/null", status="ok", message="the null device, owned by root")
    return Finding(
        name="/dev/null", status="fail",
        message="/dev/null is not the null device, or is not root's with mode 0666",
        cure="rm /dev/null; mknod -m 666 /dev/null c 1 3",
        means=_all("programs fail or fill the disk"),
    )  # fmt: skip


SYMPTOMS: tuple[Callable[[Host], Finding], ...] = (
    _helper, _cgroups, _capabilities, _limits, _crun, _seccomp, _overlay, _user_namespaces,
    _network, _qemu, _kvm, _erofs, _shares, _native, _memory, _disk, _processes, _null,
)  # fmt: skip


def judge(host: Host) -> Report:
    """What the observations mean. Pure."""
    findings = tuple(symptom(host) for symptom in SYMPTOMS)
    kinds = dict.fromkeys(KINDS, "works")
    for finding in findings:
        for kind, meaning in finding.means.items():
            if meaning.startswith("no:") and kinds[kind] == "works":
                kinds[kind] = meaning
    return Report(kinds=kinds, findings=findings)
