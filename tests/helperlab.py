"""A real helper for tests, in a network namespace of its own, with a busybox layer.

The helper may be killed and started again; the network namespace, held by a process of its own,
stays. Everything is named by the test's instance, so that leftovers are found.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import container_values
from needs import GUEST, NATIVE, program
from waiting import PATIENCE, until
from wirt.crun.seccomp import Filters
from wirt.engine.container import ContainerEngine
from wirt.engine.protocol import Process, ResolvedMount, Start
from wirt.errors import Unavailable
from wirt.guest.keeper import KeeperLink, Record, Request
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.linux.features import read_facts
from wirt.model.guest import GuestSpec
from wirt.model.names import new_id
from wirt.model.network import Endpoint
from wirt.privileged.client import Helper
from wirt.privileged.protocol import BridgePlan, LaunchGuest, Ping, ReleaseGuest, SetNetworks

T = TypeVar("T")
APPLETS = (
    "sh", "true", "false", "sleep", "cat", "echo", "id", "ls", "ip", "ping", "nc", "env", "stat",
    "mount", "hostname", "wget", "dd", "touch", "yes", "kill", "httpd",
)  # fmt: skip
LAYER = "sha256:" + "c" * 64
NETWORK = "d" * 64


def busybox_layer(diff: Path) -> None:
    """A small root file system made of the host's static busybox."""
    for directory in ("bin", "etc", "tmp", "proc", "dev", "sys", "root", "data/inner"):
        (diff / directory).mkdir(parents=True)
    shutil.copy2("/bin/busybox", diff / "bin/busybox")
    for name in APPLETS:
        (diff / "bin" / name).symlink_to("busybox")
    (diff / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/tmp:/bin/sh\n")
    (diff / "etc/group").write_text("root:x:0:\napp:x:1001:\nvideo:x:44:app\n")
    (diff / "data/file").write_text("from the image\n")
    (diff / "data/inner/twin").hardlink_to(diff / "data/file")
    (diff / "data/link").symlink_to("file")
    os.chown(diff / "data", 1000, 1001)
    (diff / "data").chmod(0o750)
    (diff / "tmp").chmod(0o1777)


class Lab:
    """One instance. ``fault``: a step at which the helper is to die, see ``faults.py``."""

    def __init__(self, name: str, base: Path) -> None:
        self.layout = Layout(name=name, state=base / "state", run=Path("/run") / name)
        self.cgroups = Cgroups.detect()
        self._holder = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "ip link set lo up; echo up; exec sleep 1000"],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        self._holder.stdout.close()
        self._helper: subprocess.Popen[str] | None = None
        busybox_layer(self.layout.layers / LAYER.partition(":")[2] / "diff")
        facts = read_facts()
        self.engine = ContainerEngine(
            layout=self.layout,
            facts=facts,
            filters=Filters(architecture="SCMP_ARCH_X86_64", kernel=facts.kernel),
            init=NATIVE / "wirt-init",
            helper=Helper(self.layout.helper_socket),
            cgroups=self.cgroups,
        )

    # --- the helper

    def start(self, *, fault: str | None = None) -> None:
        """Start the helper and wait until it answers, or ends.

        A child that a killed one had just forked may hold the old socket for a moment: who connects
        to that is not served.
        """
        self._helper = self._popen({} if fault is None else {"WIRT_FAULT": fault})
        until(self._answers, "the helper answers")

    def _answers(self) -> bool:
        assert self._helper is not None
        try:
            self.run(lambda helper: helper.call(Ping()))
        except Unavailable:
            return self._helper.poll() is not None
        return True

    def start_another(self) -> subprocess.Popen[str]:
        """A second helper for the same instance."""
        return self._popen({}, stderr=subprocess.PIPE)

    def _popen(self, extra: dict[str, str], *, stderr: int | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *self.enter(), sys.executable, "-m", "wirt.privileged", "--name", self.layout.name,
                "--state", str(self.layout.state), "--run", str(self.layout.run), "--user", "0",
                "--keeper", str(NATIVE / "wirt-keeper"), "--guest-dir", str(GUEST),
            ],
            env={**os.environ, "PYTHONPATH": str(NATIVE.parent.parent / "src"), **extra},
            stderr=stderr,
            text=True,
        )  # fmt: skip

    def enter(self) -> list[str]:
        """Words before a command that is to run in the instance's network."""
        return ["nsenter", "-t", str(self._holder.pid), "-n", "--"]

    def inside(self, *argv: str) -> str:
        """What a command in the instance's network prints."""
        return subprocess.run(
            [*self.enter(), *argv], check=True, capture_output=True, text=True, timeout=PATIENCE
        ).stdout

    @property
    def helper_pid(self) -> int:
        assert self._helper is not None
        return self._helper.pid

    def kill(self) -> None:
        """``kill -9`` the helper and wait for its end."""
        if self._helper is not None:
            self._helper.kill()
            self._helper.wait()
            self._helper = None

    def died(self) -> bool:
        """Wait for the helper to end by itself; whether SIGKILL ended it."""
        assert self._helper is not None
        status = self._helper.wait(PATIENCE)
        self._helper = None
        return status == -signal.SIGKILL

    def close(self) -> None:
        """End everything of the instance that a test left running."""
        self.kill()
        for guest in self.guests():
            self.cgroups.kill(self.layout.cgroup(guest))
        for pid in self.cgroups.processes(f"/{self.layout.name}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.cgroups.remove(f"/{self.layout.name}")
        self._holder.kill()
        self._holder.wait()
        shutil.rmtree(self.layout.run, ignore_errors=True)

    # --- what there is

    def guests(self) -> list[str]:
        """Ids of guests that have a group."""
        return [g for g in self.cgroups.children(f"/{self.layout.name}") if len(g) == 64]

    def traces(self) -> list[str]:
        """Everything that exists only while guests run, one line each."""
        links = [line.split(": ")[1] for line in self.inside("ip", "-o", "link").splitlines()]
        return [
            *(f"group {guest}" for guest in self.guests()),
            *(f"run {path.name}" for path in sorted((self.layout.run / "g").iterdir())),
            *(f"crun {path.name}" for path in sorted(self.layout.crun_root.iterdir())),
            *(f"link {name}" for name in links if name.startswith(f"{self.layout.name}v")),
            *(f"process {pid}" for pid in self.cgroups.processes(f"/{self.layout.name}")),
        ]

    def settled(self) -> list[str]:
        """:meth:`traces` once nothing changes them any more: killed processes need a moment."""
        deadline = time.monotonic() + PATIENCE
        while (left := self.traces()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left

    # --- asking

    def run(self, story: Callable[[Helper], Awaitable[T]]) -> T:
        """Run a coroutine with a client of the helper."""

        async def run() -> T:
            helper = Helper(self.layout.helper_socket, patience=PATIENCE)
            try:
                return await asyncio.wait_for(story(helper), 100)
            finally:
                await helper.close()

        return asyncio.run(run())

    def bridges(self) -> SetNetworks:
        """One bridge, 10.213.0.1/24."""
        plan = BridgePlan(bridge=self.layout.default_bridge, address="10.213.0.1/24")
        return SetNetworks(bridges=(plan,))

    def launch(
        self,
        *argv: str,
        spec: GuestSpec | None = None,
        network: str = "private",
        user: str = "",
        cards: int = 0,
        mounts: tuple[ResolvedMount, ...] = (),
        guest_id: str = "",
    ) -> LaunchGuest:
        """A launch as the daemon plans it."""
        begin: Start = container_values.start(spec, network="none", mounts=mounts)
        guest_id = guest_id or new_id()
        number = int(hashlib.sha256(guest_id.encode()).hexdigest()[:4], 16) % 200 + 10
        endpoints = tuple(
            Endpoint(
                network_id=NETWORK,
                network="bridge",
                address=f"10.213.0.{number + n}",
                prefix=24,
                gateway="10.213.0.1",
                mac=f"02:00:00:00:{n:02x}:{number:02x}",
                interface=f"eth{n}",
            )
            for n in range(cards)
        )
        guest = replace(begin.guest, id=guest_id, endpoints=endpoints)
        process = Process(
            argv=argv or ("true",), env=("PATH=/bin",), working_dir="/", user=user, stop_signal=15
        )
        start = replace(
            begin,
            guest=guest,
            process=process,
            network=network,
            bridges={NETWORK: self.layout.default_bridge},
            image=replace(begin.image, chain_ids=(LAYER,)),
        )
        return self.engine.plan(start).launch


class Keeper:
    """A connection to a guest's keeper that remembers events."""

    def __init__(self, link: KeeperLink, events: asyncio.Queue[Record]) -> None:
        self.link = link
        self._events = events

    @classmethod
    async def of(cls, lab: Lab, guest_id: str) -> Keeper:
        events: asyncio.Queue[Record] = asyncio.Queue()
        link = await KeeperLink.connect(
            lab.layout.keeper_socket(guest_id),
            on_event=events.put_nowait,
            on_closed=lambda: events.put_nowait({"event": ["closed"]}),
        )
        return cls(link, events)

    async def start(self) -> int:
        """Run the main process; its pid."""
        answer = await self.link.request(Request.START, {})
        return int(answer["pid"][0])

    async def exit(self) -> Record:
        """Wait for the exit of the main process; its event."""
        while True:
            event = await asyncio.wait_for(self._events.get(), PATIENCE)
            if event["event"] == ["exit"] and event["target"] == ["main"]:
                return event
            if event["event"] == ["closed"]:
                raise AssertionError("the keeper ended without an exit event")


@contextlib.contextmanager
def lab(name: str, base: Path) -> Iterator[Lab]:
    """A started lab with a bridge, cleaned up afterwards."""
    assert program("nsenter")
    made = Lab(name, base)
    try:
        made.start()
        made.run(lambda helper: helper.call(made.bridges()))
        yield made
    finally:
        made.close()


async def running(box: Lab, helper: Helper, launch: LaunchGuest) -> tuple[Keeper, int]:
    """Launch and start: a connection to the keeper, and the pid of the main process."""
    _, (pidfd,) = await helper.call(launch)
    os.close(pidfd)
    keeper = await Keeper.of(box, launch.id)
    return keeper, await keeper.start()


async def whole(box: Lab, helper: Helper, launch: LaunchGuest) -> tuple[int, str]:
    """Launch, start, wait, release: exit code and output."""
    keeper, _ = await running(box, helper, launch)
    event = await keeper.exit()
    await keeper.link.close()
    text = output(box.layout, launch.id)
    await helper.call(ReleaseGuest(id=launch.id))
    return int(event["code"][0]), text


def cards(pid: int) -> set[str]:
    """Names of the network interfaces that a process sees."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return {line.split(":")[0].strip() for line in lines}


def text_of(path: str) -> str:
    """A file's text; for coroutines, whose blocking a test does not mind."""
    return Path(path).read_text()


def output(layout: Layout, guest_id: str) -> str:
    """What a guest has written: the payload of its log's records."""
    data = (layout.guest_log(guest_id) / "0").read_bytes()
    text = b""
    while len(data) >= 16:
        length = int.from_bytes(data[4:8], "big")
        text += data[16 : 16 + length]
        data = data[16 + length :]
    return text.decode()
