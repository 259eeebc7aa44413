"""Run crun on a planned configuration as the launch child will: private mounts, own network.

For tests of what a container really gets, without helper and keeper: the engine's plan, a busybox
root with an overlay on it, then ``crun run`` in the foreground.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import container_values
from needs import NATIVE
from wirt.crun.seccomp import Filters
from wirt.engine.container import ContainerEngine
from wirt.engine.protocol import Plan, Process, ResolvedMount, Start
from wirt.layout import Layout
from wirt.linux import libc
from wirt.linux.cgroup import Cgroups, Mode
from wirt.linux.features import HostFacts, read_facts
from wirt.linux.seccomp import native_architecture
from wirt.model.guest import GuestSpec
from wirt.model.names import new_id
from wirt.privileged import userns, userview
from wirt.privileged.client import Helper

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def make_root(directory: Path) -> Path:
    """A small root file system of busybox."""
    for name in ("bin", "sbin", "etc", "proc", "sys", "dev", "tmp", "run", "root"):
        (directory / name).mkdir(parents=True)
    (directory / "tmp").chmod(0o1777)
    shutil.copy2("/bin/busybox", directory / "bin" / "busybox")
    names = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for name in set(names.stdout.split()) - {"busybox"}:
        (directory / "bin" / name).symlink_to("busybox")
    (directory / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (directory / "etc" / "group").write_text("root:x:0:\n")
    return directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a container did: its exit status and its streams as text."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Box:
    """One instance's worth of directories in which containers are run by crun itself."""

    def __init__(self, *, base: Path, root: Path, name: str) -> None:
        self.layout = Layout(name=name, state=base / "state", run=base / "run")
        self.facts: HostFacts = read_facts()
        self.filters = Filters(
            architecture=native_architecture(self.facts.machine), kernel=self.facts.kernel
        )
        self.init = NATIVE / "wirt-init"
        self.root = root
        self.version_two = self.facts.cgroup is Mode.V2
        for directory in (self.layout.state, self.layout.run, self.layout.run / "g"):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o711)

    @property
    def engine(self) -> ContainerEngine:
        return ContainerEngine(
            layout=self.layout,
            facts=self.facts,
            filters=self.filters,
            init=self.init,
            helper=Helper(self.layout.helper_socket),
            cgroups=Cgroups.detect(),
        )

    def start(
        self, *argv: str, spec: GuestSpec | None = None, mounts: tuple[ResolvedMount, ...] = (),
        network: str = "private", cwd: str = "/",
    ) -> Start:  # fmt: skip
        """A start of a fresh guest that runs ``argv``."""
        process = Process(
            argv=argv, env=("PATH=/bin:/sbin",), working_dir=cwd, user="", stop_signal=15
        )
        made = container_values.start(spec, network=network, mounts=mounts, process=process)
        return replace(made, guest=replace(made.guest, id=new_id(), endpoints=()), bridges={})

    def run(self, *argv: str, timeout: float = 30, **wish: Any) -> Ran:
        """Plan a container for ``argv`` and run it to its end."""
        start = self.start(*argv, **wish)
        plan = self.engine.plan(start)
        assert plan.launch.container is not None
        return self.run_config(
            start.guest.id, json.loads(plan.launch.container.config), plan, timeout
        )

    def run_config(
        self, guest_id: str, config: dict[str, Any], plan: Plan, timeout: float = 30
    ) -> Ran:
        """Run a configuration (changed by a test) to its end."""
        with self.running(guest_id, config, plan) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                self.crun(guest_id, "kill", guest_id, "KILL")
                raise
        return Ran(code=process.returncode, out=out, err=err)

    @contextmanager
    def running(
        self, guest_id: str, config: dict[str, Any], plan: Plan
    ) -> Iterator[subprocess.Popen[str]]:
        """``crun run`` of a configuration; afterwards everything of it is gone."""
        run, state = self.layout.guest_run(guest_id), self.layout.guest_state(guest_id)
        for directory in (run, run / "root", state / "upper", state / "work", state / "etc"):
            directory.mkdir(parents=True)
        for directory in (run, run / "root", state.parent, state):
            directory.chmod(0o711)
        for name, text in plan.launch.files.items():
            (state / "etc" / name).write_text(text)
        assert plan.launch.container is not None
        idmap = plan.launch.container.overlay.idmap
        process = subprocess.Popen(
            self.argv(guest_id, "run", "--bundle", str(run), guest_id),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, errors="replace", env={"PATH": PATH},
            preexec_fn=self._enter(guest_id, config, idmap, network=plan.launch.network),
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            self._clean(guest_id)
            process.communicate()

    def argv(self, guest_id: str, *words: str) -> list[str]:
        """A crun command line."""
        return [
            "crun", "--root", str(self.layout.guest_run(guest_id) / "crun"),
            "--cgroup-manager=cgroupfs", *words,
        ]  # fmt: skip

    def crun(self, guest_id: str, *words: str, inside: int = 0) -> subprocess.CompletedProcess[str]:
        """Run another crun command; ``inside``: pid of the crun whose mounts it needs."""
        enter = ["nsenter", f"--mount=/proc/{inside}/ns/mnt", f"--net=/proc/{inside}/ns/net"]
        return subprocess.run(
            [*(enter if inside else ()), *self.argv(guest_id, *words)],
            capture_output=True, text=True, env={"PATH": PATH}, check=False, timeout=30,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _enter(
        self, guest_id: str, config: dict[str, Any], idmap: int | None, *, network: str
    ) -> Callable[[], None]:
        run, state = self.layout.guest_run(guest_id), self.layout.guest_state(guest_id)

        def enter() -> None:
            text = json.dumps(config).encode()
            alone = libc.CLONE_NEWNET if idmap is None and network != "host" else 0
            libc.unshare(libc.CLONE_NEWNS | alone)
            libc.mount(None, "/", flags=libc.MS_REC | libc.MS_SLAVE)
            if self.version_two:
                libc.umount2("/sys/fs/cgroup", libc.MNT_DETACH)
                libc.mount("none", "/sys/fs/cgroup", "cgroup2")
            elif self.facts.cgroup is Mode.HYBRID:
                libc.mount("none", "/sys/fs/cgroup/unified", "tmpfs", data="size=1m")
            if idmap is not None:
                user = userns.make(idmap, network=True)
                assert user.network is not None
                libc.setns(user.network, libc.CLONE_NEWNET)
                userns.pin(user.user, run / "userns")
                userview.cover_dev()
                own = os.open("/dev/null", os.O_RDWR)  # crun chowns what it finds as stdin
                os.dup2(own, 0)
                os.close(own)
                text = userview.show_binds(
                    text, run / "binds", namespace=user.user, own=(self.layout.state,)
                )
                os.chown(state / "upper", idmap, idmap)
            self._mount_root(run, state, None if idmap is None else user.user)
            (run / "config.json").write_bytes(text)

        return enter

    def _mount_root(self, run: Path, state: Path, namespace: int | None) -> None:
        lower = [self.root]
        if namespace is not None:
            (run / "layers").mkdir()
            lower = userns.map_layers(lower, namespace, run / "layers")
        data = f"lowerdir={lower[0]},upperdir={state}/upper,workdir={state}/work"
        libc.mount("overlay", run / "root", "overlay", data=data)

    def _clean(self, guest_id: str) -> None:
        group = self.layout.cgroup(guest_id)
        for tree in Path("/sys/fs/cgroup").iterdir():
            for directory in (tree / group.lstrip("/"), tree / self.layout.name):
                procs = directory / "cgroup.procs"
                for pid in procs.read_text().split() if procs.exists() else ():
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                while directory.exists() and procs.exists() and procs.read_text().split():
                    os.sched_yield()
                if directory.is_dir():
                    directory.rmdir()


@contextmanager
def box(name: str) -> Iterator[Box]:
    """A fresh box whose directories others may walk through (as user namespaces need)."""
    base = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))
    base.chmod(0o711)
    try:
        yield Box(base=base, root=make_root(base / "base"), name=name)
    finally:
        shutil.rmtree(base)
