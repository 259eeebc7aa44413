"""What a test needs of the host, found out by trying it, never by asking for a version.

``@needs("root", "crun")`` on a test, or ``pytestmark = needs("qemu")`` for a file. When something
is absent the test is skipped and says why. Where ``CI=true`` the absence of something that CI
promises (:data:`PROMISED`) is a failure: a skipped proof is no proof.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "build" / "native"
GUEST = ROOT / "build" / "guest"

Probe = Callable[[], str | None]
"""Returns None when the capability is there, else one sentence why it is not."""


def _try(*argv: str) -> str | None:
    """Run a command; None when it ends with 0, else its last line of complaint."""
    environment = {**os.environ, "LC_ALL": "C", "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=30,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    words = (done.stderr or done.stdout).strip().splitlines()
    return f"{argv[0]}: {words[-1] if words else f'exit code {done.returncode}'}"


def _runs(*argv: str) -> Probe:
    return lambda: _try(*argv)


def _built(path: Path, how: str) -> Probe:
    def probe() -> str | None:
        return None if path.exists() else f"{path.relative_to(ROOT)} is not built ({how})"

    return probe


def _root() -> str | None:
    return None if os.geteuid() == 0 else "not root"


def _kvm() -> str | None:
    """Our kernel boots with KVM, finds no root and resets, all within ten seconds.

    That the device can be opened proves nothing: nested KVM may emulate a kernel's instructions
    one by one, or abort QEMU.
    """
    kernel = GUEST / "vmlinux"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm cannot be opened"
    if not kernel.exists():
        return "no guest kernel to prove it with (make setup)"
    machine = "qemu-system-x86_64 -accel kvm -M microvm -cpu host -m 256 -nodefaults -display none"
    return _try(
        *f"timeout 10 {machine} -no-reboot -kernel {kernel} -append".split(), "panic=-1 quiet"
    )


_DISK_LIMITS = (
    "test -e /sys/dev/block/$(stat -c %Hd:%Ld /var/tmp) || { echo /var/tmp is on no disk; false; };"
    "test -e /sys/fs/cgroup/blkio/blkio.throttle.read_bps_device || "
    "grep -qw io /sys/fs/cgroup/cgroup.controllers || { echo no control group for disks; false; }"
)
_OVERLAY = (
    "mount -t tmpfs none /mnt && cd /mnt && mkdir lower upper work merged && "
    "mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged"
)
_VETH = (
    "ip link add v0 type veth peer name v1 && ip link add br0 type bridge && "
    "ip link set v0 master br0"
)

PROBES: Mapping[str, Probe] = {
    "root": _root,
    "mountns": _runs("unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"),
    "netns": _runs("unshare", "-n", "sh", "-c", _VETH),
    "overlay": _runs("unshare", "-m", "sh", "-c", _OVERLAY),
    "disk-limits": _runs("sh", "-ec", _DISK_LIMITS),
    "userns": _runs("unshare", "-U", "-r", "true"),
    "nft": _runs("unshare", "-n", "nft", "add", "table", "inet", "probe"),
    "tap": _runs("unshare", "-n", "ip", "tuntap", "add", "dev", "t0", "mode", "tap"),
    "crun": _runs("crun", "--version"),
    "git": _runs("git", "--version"),
    "ssh": _runs("ssh", "-V"),
    "dropbear": _runs("dropbear", "-V"),
    "qemu": _runs("qemu-system-x86_64", "-machine", "help"),
    "qemu-img": _runs("qemu-img", "--version"),
    "kvm": _kvm,
    "erofs": _runs("mkfs.erofs", "--help"),
    "virtiofsd": _runs("/usr/lib/qemu/virtiofsd", "--version"),
    "busybox": _runs("/bin/busybox", "true"),
    "skopeo": _runs("skopeo", "--version"),
    "buildah": _runs("buildah", "--version"),
    "umoci": _runs("umoci", "--version"),
    "docker-registry": _runs("docker-registry", "--version"),
    "openssl": _runs("openssl", "version"),
    "mmdebstrap": _runs("mmdebstrap", "--version"),
    "gcc": _runs("gcc", "--version"),
    "make": _runs("make", "--version"),
    "clang": _runs("clang", "--version"),
    "clang-format": _runs("clang-format", "--version"),
    "docker": _runs("docker", "version"),
    "podman": _runs("podman", "--version"),
    "keeper": _built(NATIVE / "wirt-keeper", "make native"),
    "agent": _built(NATIVE / "wirt-agent", "make native"),
    "agent-sanitized": _built(NATIVE / "wirt-agent-sanitized", "make native"),
    "init": _built(NATIVE / "wirt-init", "make native"),
    "load": _built(NATIVE / "wirt-load", "make native"),
    "fuse-disk": _runs("sh", "-c", "test -c /dev/fuse && qemu-storage-daemon --version"),
    "zram": _runs("test", "-w", "/sys/class/zram-control/hot_remove"),
    "guest-kernel": _built(GUEST / "vmlinux", "make setup"),
}

PROMISED = frozenset(
    {
        "root", "mountns", "netns", "overlay", "nft", "tap", "crun", "qemu", "qemu-img", "erofs",
        "virtiofsd", "busybox", "skopeo", "buildah", "umoci", "docker-registry", "openssl",
        "mmdebstrap", "gcc", "make", "clang-format", "keeper", "agent", "init", "load",
        "guest-kernel", "git", "ssh", "dropbear", "disk-limits",
    }
)  # fmt: skip
"""What a CI machine (Debian 12, root, no hardware virtualization) has after ``make setup``."""


@functools.cache
def missing(name: str) -> str | None:
    """None when the capability ``name`` is there, else why not. Tried once a session."""
    return PROBES[name]()


def needs(*names: str) -> pytest.MarkDecorator:
    """Mark a test, a class or (as ``pytestmark``) a file with the capabilities that it needs."""
    unknown = [name for name in names if name not in PROBES]
    if unknown:
        raise LookupError(f"no probe for {unknown}; tests/needs.py knows {sorted(PROBES)}")
    return pytest.mark.needs(*names)


def require(*names: str) -> None:
    """Skip the running test when something is absent; fail it where CI promised it."""
    for name in names:
        reason = missing(name)
        if reason is None:
            continue
        if os.environ.get("CI") == "true" and name in PROMISED:
            pytest.fail(f"CI promises {name!r}, but: {reason}", pytrace=False)
        pytest.skip(f"needs {name}: {reason}")


def program(name: str) -> str:
    """The path of a program that a probe has found, also in the directories for root."""
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        raise LookupError(f"{name} is not installed")
    return path
