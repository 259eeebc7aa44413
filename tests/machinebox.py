"""Machines for tests, without daemon and helper: planned by the engine, prepared as the helper
does it, run by the real keeper, QEMU and agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from container_values import HOST, PROCESS, start
from machine_values import NOWHERE
from needs import GUEST, NATIVE, program
from wirt.engine._machine_handle import MachineHandle
from wirt.engine.microvm import MicrovmEngine
from wirt.engine.protocol import Engine, Handle, Plan, Process, ResolvedMount
from wirt.engine.vm import VmEngine
from wirt.guest.frame import decode_record, encode_record
from wirt.guest.keeper import KeeperLink, Record, Request
from wirt.layout import Layout
from wirt.linux import libc, spawn
from wirt.linux.cgroup import Cgroups
from wirt.model.guest import Guest, GuestSpec, Isolation
from wirt.privileged import machine
from wirt.privileged.client import Helper
from wirt.privileged.context import Context
from wirt.privileged.protocol import LaunchGuest, LimitGuest
from wirt.privileged.verbs.guest import limit
from wirt.qemu.host import MachineHost, Machines, examine
from wirt.qemu.qmp import Monitor

GUEST_ID = "0123456789abcdef" * 4
BOOT = 60.0
"""Seconds in which anything under emulation must have happened."""
SECRET = "of the host\n"
"""What shared files hold."""
APPLETS = (
    "sh", "ls", "cat", "echo", "true", "false", "sleep", "id", "ps", "stty", "head", "dd", "kill",
    "tee", "wc", "mount", "hostname", "touch", "env", "seq", "tar", "mkdir", "stat", "tty", "pwd",
    "ip", "mkfifo", "rm", "readlink", "md5sum", "ulimit", "nproc", "grep", "od", "ln", "chmod",
    "date",
)  # fmt: skip


def make_root(path: Path) -> Path:
    """A busybox tree with a few users and traps in it."""
    for name in ("bin", "etc", "tmp", "root", "data", "srv"):
        (path / name).mkdir(parents=True)
    (path / "tmp").chmod(0o1777)
    shutil.copy("/bin/busybox", path / "bin/busybox")
    for name in APPLETS:
        (path / "bin" / name).symlink_to("busybox")
    (path / "bin/broken").write_text("not a program\n")
    (path / "bin/broken").chmod(0o755)
    (path / "bin/plain").write_text("#!/bin/sh\n")
    (path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/srv/bob:\n")
    (path / "etc/group").write_text("root:x:0:\nbob:x:1000:\nwheel:x:10:bob\n")
    (path / "etc/hosts").symlink_to("/data/caught")
    (path / "data/seed").write_text("from the image\n")
    return path


def make_erofs(tree: Path, disk: Path) -> None:
    """The image's disk."""
    disk.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [program("mkfs.erofs"), "--quiet", "-zlz4", disk, tree], check=True, capture_output=True
    )


class Client:
    """One end of an attached stream; the other was given to the keeper."""

    def __init__(self, mine: socket.socket) -> None:
        mine.setblocking(False)
        self._mine = mine
        self._have = b""

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._mine, data)

    def half_close(self) -> None:
        self._mine.shutdown(socket.SHUT_WR)

    async def until(self, text: bytes) -> bytes:
        """Everything up to now, once it holds ``text``."""
        async with asyncio.timeout(BOOT):
            while text not in self._have:
                data = await asyncio.get_running_loop().sock_recv(self._mine, 65536)
                assert data, f"the stream ended without {text!r}: {self._have!r}"
                self._have += data
        return self._have

    async def rest(self) -> bytes:
        async with asyncio.timeout(BOOT):
            while data := await asyncio.get_running_loop().sock_recv(self._mine, 1 << 18):
                self._have += data
        self._mine.close()
        return self._have


class Session:
    """A control connection to a machine's keeper, with its events."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.events: list[Record] = []
        self._news = asyncio.Event()
        self.link: KeeperLink
        self.handle: Handle

    def heard(self, event: Record) -> None:
        self.events.append(event)
        self._news.set()

    async def event(self, name: str, target: str | None = None) -> Record:
        """The first event of this name (and target)."""
        async with asyncio.timeout(BOOT):
            while True:
                for event in self.events:
                    if event["event"] == [name] and target in {None, event["target"][0]}:
                        return event
                self._news.clear()
                await self._news.wait()

    @property
    def monitor(self) -> Monitor:
        """QEMU's monitor, which serves one connection at a time."""
        return cast(MachineHandle, self.handle).monitor

    async def attach(self, *, stdin: bool = False, detach: bytes = b"") -> Client:
        mine, theirs = socket.socketpair()
        await self.handle.attach(
            theirs.fileno(), stdin=stdin, stdout=True, stderr=True, mux=False, detach=detach
        )
        theirs.close()
        return Client(mine)

    async def execute(self, *argv: str, stdin: bytes | None = None, **extra: Any) -> Finished:
        """Run a further process to its end."""
        client, name = await self.begin(*argv, stdin=stdin is not None, **extra)
        if stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it may have ended without reading it all
                await client.send(stdin)
                client.half_close()
        output = await client.rest()
        event = await self.event("exit", name)
        return Finished(int(event["code"][0]), output)

    async def begin(self, *argv: str, stdin: bool = False, **extra: Any) -> tuple[Client, str]:
        mine, theirs = socket.socketpair()
        name = os.urandom(8).hex()
        record = {
            "id": [name], "argv": list(argv), "stdin": [str(int(stdin))], "mux": ["0"],
            **{key: value if isinstance(value, list) else [value] for key, value in extra.items()},
        }  # fmt: skip
        with theirs:
            try:
                await self.link.request(Request.EXEC, record, descriptor=theirs.fileno())
            except BaseException:
                mine.close()
                raise
        return Client(mine), name

    async def call(self, name: str, *, stream: int | None = None, **arguments: str) -> Record:
        record = {"call": [name], **{key: [value] for key, value in arguments.items()}}
        async with asyncio.timeout(BOOT):
            return await self.link.request(Request.AGENT, record, descriptor=stream)


class Finished(tuple[int, bytes]):
    """Exit code and output."""

    def __new__(cls, code: int, output: bytes) -> Finished:
        return super().__new__(cls, (code, output))


class Limiting(Helper):
    """In place of the helper: writes limits, and nothing else."""

    def __init__(self, context: Context) -> None:
        super().__init__(Path("/nonexistent"))
        self._context = context

    async def call(self, verb: Any, fds: Sequence[int] = ()) -> Any:
        assert isinstance(verb, LimitGuest)
        return limit(self._context, verb, fds)


class Box:
    """One machine: its directories, and the keeper that waits to boot it."""

    def __init__(self, directory: Path, name: str, disk: Path) -> None:
        self.layout = Layout(name=name, state=directory / "s", run=Path("/run") / name)
        self.disk = disk
        self.cgroups = Cgroups.detect()
        self.context = Context(
            layout=self.layout,
            uid=0,
            gid=0,
            cgroups=self.cgroups,
            keeper=NATIVE / "wirt-keeper",
            guest_dir=GUEST,
        )
        self.plan: Plan
        self.pid = 0

    @property
    def run(self) -> Path:
        return self.layout.guest_run(GUEST_ID)

    def launch(self, plan: Plan, guest: Guest, engine: Engine) -> None:
        """What the helper does for LaunchGuest, with an empty network."""
        self.guest, self.engine, self.plan = guest, engine, plan
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir(parents=True)
        self.layout.guest_log(GUEST_ID).mkdir(parents=True, exist_ok=True)
        disk = self.layout.disks / f"{guest.image_id.removeprefix('sha256:')}.erofs"
        disk.parent.mkdir(parents=True, exist_ok=True)
        if not disk.exists():
            shutil.copy(self.disk, disk)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._become_keeper(plan.launch)
            except BaseException:  # noqa: BLE001 - told, since the parent only sees the end
                traceback.print_exc()
            finally:
                os._exit(99)

    def _become_keeper(self, launch: LaunchGuest) -> None:
        libc.unshare(libc.CLONE_NEWNS | libc.CLONE_NEWNET)
        libc.mount(None, "/", flags=libc.MS_SLAVE | libc.MS_REC)
        made = machine.prepare(self.context, launch, ())
        log = self.layout.guest_log(GUEST_ID)
        conf = [
            ("id", launch.id),
            *made.conf,
            *(("env", f"{k}={v}") for k, v in spawn.environment().items()),
            *(("tty", str(int(launch.tty))), ("stdin", str(int(launch.stdin)))),
            ("stdin_once", str(int(launch.stdin_once))),
            *(("log", str(log)), ("log_size", "1048576"), ("log_files", "2")),
        ]
        (self.run / "keeper.conf").write_bytes(encode_record(conf))
        libc.close_except(made.keep)
        for fd in made.keep:
            os.set_inheritable(fd, True)
        keeper = os.fspath(self.context.keeper)
        os.execve(keeper, [keeper, os.fspath(self.run)], {})

    @asynccontextmanager
    async def session(self, *, boot: bool = False) -> AsyncIterator[Session]:
        """Connect; with ``boot`` start the machine."""
        session = Session(self)
        async with asyncio.timeout(BOOT):
            while not (self.run / "keeper.sock").exists():
                assert not self._ended(), "the keeper was not started"
                await asyncio.sleep(0.01)
        session.link = await KeeperLink.connect(
            self.run / "keeper.sock", on_event=session.heard, on_closed=lambda: None
        )
        session.handle = self.engine.handle(self.guest, session.link)
        try:
            if boot:
                async with asyncio.timeout(BOOT):
                    await session.handle.start()
            yield session
        finally:
            session.handle.close()
            await session.link.close()

    def _ended(self) -> bool:
        return os.waitpid(self.pid, os.WNOHANG)[0] != 0

    def exit(self) -> Record:
        """Wait for the keeper's end; its last record."""
        os.waitpid(self.pid, 0)
        self.pid = 0
        return decode_record((self.run / "exit").read_bytes())

    def close(self) -> None:
        """End everything and leave nothing."""
        path = self.layout.cgroup(GUEST_ID)
        if self.pid:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.pid, 9)
                os.waitpid(self.pid, 0)
        self.cgroups.kill(path)
        self.cgroups.remove(f"/{self.layout.name}")
        shutil.rmtree(self.layout.run, ignore_errors=True)


@contextmanager
def boxed(directory: Path, name: str, disk: Path) -> Iterator[Box]:
    box = Box(directory, name, disk)
    try:
        yield box
    finally:
        box.close()


def host(directory: Path) -> MachineHost:
    """This host, emulating: tests are the same wherever they run."""
    return examine(GUEST, directory / "verdict", wish="tcg")


def plan_of(
    facts: MachineHost,
    *argv: str,
    kind: Isolation = Isolation.MICROVM,
    spec: GuestSpec | None = None,
    mounts: Sequence[ResolvedMount] = (),
    user: str = "",
    cwd: str = "/",
    change: Callable[[Plan], Plan] = lambda plan: plan,
    box: Box | None = None,
) -> tuple[Plan, Guest, Engine]:
    """The engine's plan for a machine without cards that runs ``argv``. ``box``: where it is to
    run, if its monitor or its limits matter."""
    make = MicrovmEngine if kind is Isolation.MICROVM else VmEngine
    engine: Engine = make(
        layout=box.layout if box else NOWHERE,
        facts=HOST,
        host=Machines(facts),
        helper=Limiting(box.context) if box else Helper(Path("/nonexistent")),
    )
    wish = replace(spec or GuestSpec(image="busybox"), isolation=kind)
    engine.check(wish)
    process: Process = replace(
        PROCESS, argv=argv, env=("PATH=/bin", "FLAVOUR=plain"), user=user, working_dir=cwd
    )
    begin = start(wish, process=process, mounts=tuple(mounts))
    begin = replace(begin, guest=replace(begin.guest, endpoints=()))
    return change(engine.plan(begin)), begin.guest, engine


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with busybox."""
    base = tmp_path_factory.mktemp("image")
    make_erofs(make_root(base / "tree"), base / "image.erofs")
    return base / "image.erofs"


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> MachineHost:
    """What this host offers machines."""
    return host(tmp_path_factory.mktemp("host"))


@pytest.fixture
def box(tmp_path: Path, instance_name: str, image: Path) -> Iterator[Box]:
    """A box of one test alone."""
    with boxed(tmp_path, instance_name, image) as made:
        yield made
