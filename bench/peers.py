"""The systems that are measured: how each is started, stopped and spoken to.

Docker and podman come from Debian's packages and run beside wirt in network namespaces of their
own, with their own data directories; the host's network and an installed docker are not touched.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import instance as local  # noqa: E402 - found by the line above

LAB = ROOT / "build" / "bench"
PACKAGES = [
    "docker.io",
    "containerd",
    "runc",
    "podman",
    "conmon",
    "netavark",
    "aardvark-dns",
    "iptables",
    "docker-registry",
]


class Peer(Protocol):
    """A system that runs containers from the image ``busybox``."""

    name: str
    removal: tuple[str, ...]
    """The words that remove containers at once, whatever runs in them."""

    def start(self) -> None:
        """Start it fresh and give it the image."""
        ...

    def stop(self) -> None:
        """End it and everything that it runs."""
        ...

    def cli(self, *words: str) -> Sequence[str]:
        """The command that a user would type."""
        ...

    def environment(self) -> Mapping[str, str]:
        """For its client."""
        ...

    def daemons(self) -> Sequence[int]:
        """Pids of what runs although no guest does."""
        ...

    def network(self) -> Sequence[str]:
        """The words that bring a command into its network."""
        ...

    def companions(self) -> Sequence[int]:
        """Pids of what runs beside each guest, besides the guest's own processes."""
        ...

    def api(self) -> Api | None:
        """Its HTTP API, or None."""
        ...


class Api:
    """One kept-alive connection to an API on a unix socket, in one system's words."""

    def __init__(
        self, path: Path, routes: Mapping[str, str], *, body: Mapping[str, object]
    ) -> None:
        self._routes = routes
        self._body = json.dumps(body).encode()
        self._link = http.client.HTTPConnection("localhost")
        self._link.sock = socket.socket(socket.AF_UNIX)
        self._link.sock.connect(str(path))

    def life(self) -> None:
        """Create, start, wait for the end, delete."""
        answer = self.call("create", body=self._body)
        guest = json.loads(answer).get("Id") or json.loads(answer)["id"]
        for step in ("start", "wait", "delete"):
            self.call(step, guest=guest)

    def call(self, step: str, *, guest: str = "", body: bytes | None = None) -> bytes:
        """One request; raises RuntimeError when it is refused."""
        verb, target = self._routes[step].split(" ", 1)
        self._link.request(verb, target.format(guest), body, {"Content-Type": "application/json"})
        answer = self._link.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{verb} {target}: {answer.status} {content.decode()}")
        return content


def children_named(*names: str, below: int | None = None) -> list[int]:
    """Pids of processes with one of these program names, descending from ``below`` if given."""
    parents: dict[int, int] = {}
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
            argv = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
        if Path(argv[0].decode()).name in names:
            found.append(int(entry.name))
    return [pid for pid in found if below is None or below in _ancestors(pid, parents)]


def _ancestors(pid: int, parents: Mapping[int, int]) -> set[int]:
    line = {pid}
    while (pid := parents.get(pid, 0)) > 1:
        line.add(pid)
    return line


class Wirt:
    """This checkout, in a network namespace of its own like the others."""

    name = "wirt"
    removal: tuple[str, ...] = ("rm", "-f")

    def __init__(self) -> None:
        apart = ["unshare", "-n", "-m", "--propagation", "slave", "sh", "-c"]
        self._instance = local.readable(
            local.Instance(
                name="wirtbench",
                state=LAB / "wirt",
                run=Path("/run/wirtbench"),
                user="wirt",
                enter=(*apart, 'ip link set lo up && exec "$@"', "sh"),
            )
        )

    def start(self) -> None:
        local.up(self._instance)
        local.images(self._instance, "busybox:latest")

    def stop(self) -> None:
        local.down(self._instance)

    def cli(self, *words: str) -> Sequence[str]:
        return (str(ROOT / "bin/wirt"), *words)

    def environment(self) -> Mapping[str, str]:
        return {"WIRT_HOST": f"unix://{self._instance.socket}", "PATH": os.environ["PATH"]}

    def daemons(self) -> Sequence[int]:
        roles = {local.DAEMON, local.HELPER}
        return [pid for pid, role in local.processes(self._instance).items() if role in roles]

    def network(self) -> Sequence[str]:
        return network_of(self.daemons()[0])

    def companions(self) -> Sequence[int]:
        mark = str(self._instance.run).encode()
        keepers = children_named("wirt-keeper")
        return [p for p in keepers if mark in Path(f"/proc/{p}/cmdline").read_bytes()]

    def api(self) -> Api:
        routes = {
            "create": "POST /v1/guests",
            "start": "POST /v1/guests/{}/start",
            "wait": "POST /v1/guests/{}/wait?condition=not-running",
            "delete": "DELETE /v1/guests/{}",
            "list": "GET /v1/guests",
        }
        return Api(self._instance.socket, routes, body={"image": "busybox", "command": ["true"]})


class Docker:
    """dockerd 20.10 with containerd and runc, in its own network namespace."""

    name = "docker"
    removal: tuple[str, ...] = ("rm", "-f")
    _lab = LAB / "docker"
    _socket = Path("/run/wirtbench-docker.sock")

    def __init__(self) -> None:
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._lab.mkdir(parents=True, exist_ok=True)
        argv = (
            f"unshare -n sh -c 'ip link set lo up && exec /usr/sbin/dockerd"
            f" --data-root {self._lab}/data --exec-root /run/wirtbench-docker"
            f" -H unix://{self._socket} --pidfile {self._lab}/pid"
            " --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent /wirtbench-docker"
            " --storage-driver overlay2'"
        )
        with (self._lab / "log").open("wb") as log:
            self._daemon = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {argv}"], stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: ask(self, "version").returncode == 0, f"dockerd, see {self._lab}/log")
        give_image(self)

    def stop(self) -> None:
        if self._daemon is None:
            return
        if left := ask(self, "ps", "-aq").stdout.split():
            ask(self, "rm", "-f", *left)
        self._daemon.send_signal(signal.SIGTERM)
        self._daemon.wait(60)
        self._daemon = None
        shutil.rmtree("/run/wirtbench-docker", ignore_errors=True)
        remove_cgroup("wirtbench-docker")

    def cli(self, *words: str) -> Sequence[str]:
        return ("/usr/bin/docker", *words)

    def environment(self) -> Mapping[str, str]:
        return {"DOCKER_HOST": f"unix://{self._socket}", "PATH": os.environ["PATH"], "HOME": "/"}

    def daemons(self) -> Sequence[int]:
        assert self._daemon is not None
        return children_named("dockerd", "containerd", below=self._daemon.pid)

    def network(self) -> Sequence[str]:
        assert self._daemon is not None
        return network_of(self._daemon.pid)

    def companions(self) -> Sequence[int]:
        shims = children_named("containerd-shim-runc-v2")
        mark = str(self._socket.stem).encode()
        return [p for p in shims if mark in Path(f"/proc/{p}/cmdline").read_bytes()]

    def api(self) -> Api:
        routes = {
            "create": "POST /v1.41/containers/create",
            "start": "POST /v1.41/containers/{}/start",
            "wait": "POST /v1.41/containers/{}/wait",
            "delete": "DELETE /v1.41/containers/{}",
            "list": "GET /v1.41/containers/json",
        }
        return Api(self._socket, routes, body={"Image": "busybox", "Cmd": ["true"]})


class Podman:
    """podman 4.3 with crun, netavark and conmon; it has no daemon."""

    name = "podman"
    removal: tuple[str, ...] = ("rm", "-f", "-t", "0")  # else it waits ten seconds for each
    _lab = LAB / "podman"

    def __init__(self) -> None:
        self._holder: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._lab.mkdir(parents=True, exist_ok=True)
        (self._lab / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
            '[network]\nnetwork_backend = "netavark"\n'
        )
        (self._lab / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self._lab}/data"\n'
            'runroot = "/run/wirtbench-podman"\n'
        )
        # crun refuses the hybrid cgroup tree unless its second half is covered.
        cover = "test ! -d /sys/fs/cgroup/unified || mount -t tmpfs none /sys/fs/cgroup/unified"
        enter = f"ip link set lo up && {cover}; echo; exec sleep inf"
        self._holder = subprocess.Popen(
            ["unshare", "-n", "-m", "sh", "-c", enter], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        give_image(self)

    def stop(self) -> None:
        if self._holder is None:
            return
        ask(self, "rm", "-fa", "-t", "0")
        self._holder.kill()
        self._holder.wait()
        self._holder = None
        remove_cgroup("libpod_parent")

    def cli(self, *words: str) -> Sequence[str]:
        assert self._holder is not None
        enter = ("nsenter", "-t", str(self._holder.pid), "-n", "-m", "--")
        return (*enter, "/usr/bin/podman", *words)

    def environment(self) -> Mapping[str, str]:
        return {
            "CONTAINERS_CONF": str(self._lab / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self._lab / "storage.conf"),
            "PATH": os.environ["PATH"],
            "HOME": str(self._lab),
            "TMPDIR": str(self._lab),
        }

    def daemons(self) -> Sequence[int]:
        return []

    def network(self) -> Sequence[str]:
        assert self._holder is not None
        return network_of(self._holder.pid)

    def companions(self) -> Sequence[int]:
        mark = str(self._lab).encode()
        conmons = children_named("conmon")
        return [p for p in conmons if mark in Path(f"/proc/{p}/cmdline").read_bytes()]

    def api(self) -> None:
        return None


def network_of(pid: int) -> tuple[str, ...]:
    """The words that bring a command into a process's network."""
    return ("nsenter", "-t", str(pid), "-n", "--")


def ask(peer: Peer, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a client command; how it ended is the caller's business."""
    return subprocess.run(
        peer.cli(*words),
        env=dict(peer.environment()),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def give_image(peer: Peer) -> None:
    """Import the busybox image unless it is there. Raises RuntimeError when that fails."""
    if ask(peer, "image", "inspect", "busybox").returncode == 0:
        return
    subprocess.run([ROOT / "tools/images", "--only-make", "busybox:latest"], check=True)
    tar = str(ROOT / "build/images/busybox.tar")
    done = ask(peer, "import", "--change", 'CMD ["sh"]', tar, "busybox")
    if done.returncode != 0:
        raise RuntimeError(f"{peer.name} import: {done.stderr}")


def install_packages() -> None:
    """Docker and podman from Debian, without letting their services start."""
    absent = [
        name
        for name in PACKAGES
        if subprocess.run(["dpkg", "-s", name], capture_output=True, check=False).returncode
    ]
    if not absent:
        return
    policy = Path("/usr/sbin/policy-rc.d")
    made = not policy.exists()
    if made:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        install = "apt-get -qy -o DPkg::Lock::Timeout=500 --no-install-recommends install"
        subprocess.run(
            [*install.split(), *absent],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    finally:
        if made:
            policy.unlink()


def remove_cgroup(name: str) -> None:
    """Remove a group of that name in every hierarchy; it must hold no process."""
    for root in Path("/sys/fs/cgroup").iterdir():
        for group, _, _ in os.walk(root / name, topdown=False):
            try:
                Path(group).rmdir()
            except OSError:
                continue


def wait_until(ready: object, what: str, *, seconds: float = 30.0) -> None:
    """Poll until ``ready()`` is true. Raises TimeoutError naming ``what``."""
    assert callable(ready)
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not become ready within {seconds:.0f} s")
        time.sleep(0.05)
