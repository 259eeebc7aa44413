"""A host of another kind: a VM with Debian's kernel, in which wirt itself runs containers.

The machine is a guest of a wirt on the real host. It has version 2 of control groups alone, an
ext4 file system for the state, and this checkout by a read-only share: what is tested in it is
what was built here.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import guest_kernel
from live import ROOT, Live, running
from wirt.qemu.module import load_order, normal, read_module

NEEDS = (
    "root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper", "qemu", "erofs",
    "virtiofsd", "agent", "guest-kernel", "mmdebstrap",
)  # fmt: skip
"""What a host needs for such a box; names for :mod:`needs`."""
IMAGE = "debian-host:12"
TAR = ROOT / "build" / "images" / "debian-host-12.tar"
MODULES = (
    "bridge", "veth", "nf_tables", "nft_chain_nat", "nft_nat", "nft_masq", "nft_redir", "nft_ct",
    "nft_fib_inet", "nft_reject_inet", "loop", "tun", "zram", "lzo_rle", "bfq",
    "sch_htb", "sch_ingress", "act_mirred", "ifb", "cls_u32",
)  # fmt: skip
"""What guests, their networks, swap and the file system in a file want of the kernel."""

NAME = "inner"
RUN = Path("/run") / NAME
STATE = Path("/state") / NAME
PATIENCE = 240.0
"""Seconds: without hardware virtualization Python runs ten times slower inside."""

_PREPARE = f"""\
set -e
while read -r module; do
    [ -d "/sys/module/$module" ] || insmod "/modules/$module.ko"
done < /modules/order
truncate -s 1g /state.img
mkfs.ext4 -q -F /state.img
mkdir /state
mount -o loop /state.img /state
mkdir {STATE}
"""


class Hostbox:
    """The host inside: run commands there, use its wirt, read its files."""

    def __init__(self, outer: Live, guest: str) -> None:
        self._outer = outer
        self._guest = guest

    def sh(
        self, script: str, *, code: int | None = 0, feed: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a bash script as root. ``code``: the exit code to insist on; None: any."""
        words = ["bash", "-c", f"cd {ROOT}\n{script}"]
        interactive = [] if feed is None else ["-i"]
        environment = ["-e", f"WIRT_HOST=unix://{RUN}/wirt.sock"]
        done = self._outer.wirt(
            "exec", *interactive, *environment, self._guest, *words,
            code=None, feed=feed, timeout=PATIENCE,
        )  # fmt: skip
        if code is not None and done.returncode != code:
            raise AssertionError(
                f"inside: {script}: exit code {done.returncode}, not {code}\n"
                f"{done.stdout}{done.stderr}\n{self.log()}"
            )
        return done

    def log(self) -> str:
        """The last lines that helper and daemon inside wrote."""
        return self.sh(f"tail -n 25 {STATE}/wirt.log", code=None).stdout

    def wirt(
        self, *words: str, code: int | None = 0, feed: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the client inside, as a user would."""
        return self.sh(shlex.join(["bin/wirt", *words]), code=code, feed=feed)

    def status(self, guest: str) -> dict[str, Any]:
        """The status of a guest inside."""
        found = json.loads(self.wirt("inspect", guest).stdout)[0]["status"]
        assert isinstance(found, dict)
        return found

    def instance(self, verb: str, *options: str) -> None:
        """``tools/instance.py`` inside."""
        who = ["--name", NAME, "--state", str(STATE), "--run", str(RUN)]
        self.sh(shlex.join([".venv/bin/python", "tools/instance.py", verb, *who, *options]))

    def start(self) -> None:
        """Start helper and daemon, and give them the busybox image."""
        self.instance("up", "--no-images", "--patience", str(PATIENCE / 2))
        tar = "build/images/busybox.tar"
        self.wirt("import", "--change", 'CMD ["sh"]', tar, "busybox:latest")

    def group(self, guest_id: str, name: str) -> str:
        """A file of a guest's control group, stripped."""
        return self.sh(f"cat /sys/fs/cgroup/{NAME}/{guest_id}/{name}").stdout.strip()

    def groups(self) -> set[str]:
        """The groups of the instance."""
        script = f"cd /sys/fs/cgroup/{NAME} && find . -mindepth 1 -type d -printf '%P\\n'"
        return set(self.sh(script).stdout.split())


def write_modules(directory: Path) -> None:
    """Kernel modules for the host inside, and the file ``order`` in which they are loaded."""
    package = next((ROOT / "build" / "guest").glob("linux-image-*.deb"))
    files = guest_kernel.wanted_files(package)
    found = {normal(Path(n).stem): data for n, data in files.items() if n.endswith(".ko")}
    order = load_order(MODULES, {name: read_module(data) for name, data in found.items()})
    for name in order:
        (directory / f"{name}.ko").write_bytes(found[name])
    (directory / "order").write_text("".join(f"{name}\n" for name in order))


def make_image() -> None:
    """Make the image's archive, once for this checkout; about a minute."""
    subprocess.run([ROOT / "tools/images", "--only-make", IMAGE], check=True)


@contextmanager
def hostbox(outer: Live, modules: Path) -> Iterator[Hostbox]:
    """Boot the machine and start wirt in it; both are gone afterwards.

    ``modules``: an empty directory for :func:`write_modules`.
    """
    make_image()
    write_modules(modules)
    path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    outer.wirt("import", "--change", path, str(TAR), IMAGE, timeout=PATIENCE)
    guest = outer.wirt(
        "run", "-d", "--as", "vm", "-m", "1536m", "--cpus", "2", "-v", f"{ROOT}:{ROOT}:ro",
        "-v", f"{modules}:/modules:ro", IMAGE, "sleep", "infinity",
        timeout=PATIENCE,
    ).stdout.strip()  # fmt: skip
    try:
        box = Hostbox(outer, guest)
        box.sh(_PREPARE)
        box.start()
        yield box
    finally:
        outer.wirt("rm", "-f", guest, timeout=PATIENCE)


@contextmanager
def booted(name: str, modules: Path) -> Iterator[Hostbox]:
    """The same in an instance of its own, named ``name``."""
    with running(name) as outer, hostbox(outer, modules) as box:
        yield box
