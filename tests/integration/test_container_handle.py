"""A running container spoken to as the daemon does: through its keeper and the helper."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import container_values
from helperlab import Lab, lab, text_of
from needs import NATIVE, needs
from waiting import PATIENCE, catches, eventually
from wirt.crun.seccomp import Filters
from wirt.engine.container import ContainerEngine
from wirt.engine.protocol import Handle
from wirt.errors import Conflict, Invalid, NotFound, Unavailable
from wirt.guest.keeper import KeeperLink, Record
from wirt.linux.features import read_facts
from wirt.model.guest import ExecSpec, GuestSpec
from wirt.model.names import new_id
from wirt.model.resources import Resources
from wirt.privileged.client import Helper
from wirt.privileged.protocol import ReleaseGuest

pytestmark = needs("root", "crun", "keeper", "init", "overlay", "netns", "busybox", "nft")


@pytest.fixture
def box(instance_name: str, tmp_path: Path) -> Iterator[Lab]:
    with lab(instance_name, tmp_path) as made:
        yield made
        assert made.settled() == []


@dataclass(slots=True, kw_only=True)
class Running:
    """A started container: its handle, its pid, and the events of its keeper."""

    id: str
    handle: Handle
    pid: int
    events: asyncio.Queue[Record]

    async def exit(self, target: str = "main") -> Record:
        """Wait until a process has ended."""
        while True:
            event = await asyncio.wait_for(self.events.get(), PATIENCE)
            if event["event"] == ["exit"] and event["target"] == [target]:
                return event

    async def execute(self, *argv: str, **wish: object) -> tuple[int, str]:
        """Run a further process to its end: its exit code and its output (streams not parted)."""
        exec_id = new_id()
        ours, theirs = socket.socketpair()
        with ours:
            spec = ExecSpec(command=argv, **{"tty": True, **wish})  # type: ignore[arg-type]
            with theirs:
                await self.handle.execute(exec_id, spec, theirs.fileno())
            ours.setblocking(False)
            loop = asyncio.get_running_loop()
            text = b""
            while data := await asyncio.wait_for(loop.sock_recv(ours, 65536), PATIENCE):
                text += data
        event = await self.exit(exec_id)
        return int(event["code"][0]), text.decode().replace("\r\n", "\n")


@contextlib.asynccontextmanager
async def started(
    box: Lab, helper: Helper, *argv: str, spec: GuestSpec | None = None, user: str = "",
    cards: int = 0,
) -> AsyncIterator[Running]:  # fmt: skip
    spec = spec or GuestSpec(image="busybox")
    facts = read_facts(pid=box.helper_pid)
    engine = ContainerEngine(
        layout=box.layout,
        facts=facts,
        filters=Filters(architecture="SCMP_ARCH_X86_64", kernel=facts.kernel),
        init=NATIVE / "wirt-init",
        helper=helper,
        cgroups=box.cgroups,
    )
    assert engine.probe().works
    launch = box.launch(*argv, spec=spec, user=user, cards=cards)
    _, descriptors = await helper.call(launch)
    for descriptor in descriptors:
        os.close(descriptor)
    events: asyncio.Queue[Record] = asyncio.Queue()
    link = await KeeperLink.connect(
        box.layout.keeper_socket(launch.id), on_event=events.put_nowait, on_closed=lambda: None
    )
    guest = replace(container_values.start(spec).guest, id=launch.id, name="db")
    handle = engine.handle(guest, link)
    try:
        pid, began = await handle.start()
        assert began > 0
        yield Running(id=launch.id, handle=handle, pid=pid, events=events)
    finally:
        await link.close()
        await helper.call(ReleaseGuest(id=launch.id))


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(PATIENCE):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def runs(guest: Running, program: str) -> bool:
    return text_of(f"/proc/{guest.pid}/comm").strip() == program


async def used(guest: Running, least: int) -> bool:
    return ((await guest.handle.usage()).memory or 0) >= least


def test_further_processes(box: Lab) -> None:
    wish = GuestSpec(image="i", working_dir="/tmp", env=("A=1",))

    async def story(helper: Helper) -> None:
        async with started(box, helper, "sleep", "100", spec=wish, user="app") as guest:
            show = "id -u; id -G; pwd; echo $HOME $TERM; echo $PATH"
            code, text = await guest.execute("sh", "-c", show)
            assert (code, text) == (0, "1000\n1001 44\n/\n/tmp xterm\n/bin\n")
            code, text = await guest.execute(
                "sh", "-c", show + "; exit 9", user="0", working_dir="/data", env=("TERM=dumb",)
            )
            assert (code, text) == (9, "0\n0\n/data\n/root dumb\n/bin\n")
            text = (await guest.execute("sh", "-c", "ls /proc/self/fd"))[1]
            assert text.split() == ["0", "1", "2", "3"]
            text = (await guest.execute("cat", "/proc/self/status"))[1]
            told = [x for x in text.splitlines() if x.startswith(("CapBnd", "CapInh", "Seccomp:"))]
            assert len(told) == 3
            main = Path(f"/proc/{guest.pid}/status").read_text()  # noqa: ASYNC240
            for line in told:
                assert line in main
            assert "Seccomp:\t2" in text

    box.run(story)


def test_a_privileged_further_process_has_what_the_host_has(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        async with started(box, helper, "sleep", "100") as guest:
            text = (await guest.execute("cat", "/proc/self/status", privileged=True))[1]
            (inside,) = (x.split()[1] for x in text.splitlines() if x.startswith("CapEff"))
            host = next(
                line for line in Path("/proc/self/status").read_text().splitlines()  # noqa: ASYNC240
                if line.startswith("CapBnd")
            )  # fmt: skip
            assert inside == host.split()[1]

    box.run(story)


def test_what_cannot_be_executed(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        async with started(box, helper, "sleep", "100") as guest:
            for argv, code in ((("no-such",), 127), (("/data",), 126)):
                with pytest.raises(Invalid) as caught:
                    await guest.execute(*argv)
                assert caught.value.facts["exit"] == code
            with pytest.raises(NotFound, match="nobody-here"):
                await guest.execute("true", user="nobody-here")
            for wish in ("/proc/self/fd/5", "relative", "/proc/1/root"):
                with pytest.raises(Invalid, match="working directory"):
                    await guest.execute("true", working_dir=wish)
            with pytest.raises(Invalid, match="invalid variable"):
                await guest.execute("true", env=("NOEQUALS",))
            with pytest.raises(Invalid, match="detach key"):
                await guest.execute("true", detach_keys="ctrl-1")
            assert await guest.execute("true") == (0, "")

    box.run(story)


def test_no_way_out_by_the_working_directory(box: Lab) -> None:
    """A link in the image to a descriptor of crun's (CVE-2024-21626) leads nowhere of the host."""

    async def story(helper: Helper) -> None:
        async with started(box, helper, "sleep", "100") as guest:
            for number in range(3, 12):
                link = f"/tmp/l{number}"
                made = await guest.execute("busybox", "ln", "-s", f"/proc/self/fd/{number}", link)
                assert made == (0, "")
                try:
                    _, text = await guest.execute(
                        "sh", "-c", "ls ../../../../../../etc/debian_version; pwd", working_dir=link
                    )
                except (Invalid, NotFound):
                    continue
                assert "debian_version: No such" in text

    box.run(story)


def test_usage_and_processes(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        wish = GuestSpec(image="i", resources=Resources(memory=64 << 20))
        async with started(box, helper, "sleep", "100", spec=wish) as guest:
            used = await guest.handle.usage()
            assert used.memory_limit == 64 << 20
            assert used.memory is not None
            assert 0 < used.memory < 64 << 20
            assert used.pids is not None
            assert used.pids >= 1
            assert used.cpu_ns
            await until(lambda: runs(guest, "sleep"))  # crun ends before its child runs the program
            titles, rows = await guest.handle.processes("")
            assert list(titles)[:3] == ["UID", "PID", "PPID"]
            assert [row[1] for row in rows] == [str(guest.pid)]
            assert rows[0][-1].startswith("sleep 100")
            titles, rows = await guest.handle.processes("-o pid,comm")
            assert list(titles) == ["PID", "COMMAND"]
            assert len(rows) == 1
            titles, rows = await guest.handle.processes("aux")
            assert list(titles)[-1] == "COMMAND"
            assert len(rows) == 1
            for bad in ("-o comm", "--no-such", "-o pid=x"):
                with pytest.raises(Invalid):
                    await guest.handle.processes(bad)

    box.run(story)


def test_limits_change_while_it_runs(box: Lab) -> None:
    wish = GuestSpec(image="i", resources=Resources(memory=64 << 20))

    async def story(helper: Helper) -> None:
        hog = "dd if=/dev/zero bs=14M count=1 | sleep 100"
        async with started(box, helper, "sh", "-c", hog, spec=wish) as guest:
            await until(lambda: used(guest, 13 << 20))
            await guest.handle.limit(Resources(memory=128 << 20, pids=77))
            assert (await guest.handle.usage()).memory_limit == 128 << 20
            with pytest.raises(Conflict, match="more than the new limit"):
                await guest.handle.limit(Resources(memory=8 << 20))
            with pytest.raises(Invalid, match="too small"):
                await guest.handle.limit(Resources(memory=1 << 20))
            with pytest.raises(Invalid, match="less than memory"):
                await guest.handle.limit(Resources(memory_swap=64 << 20))
            assert (await guest.handle.usage()).memory_limit == 128 << 20
            pids = box.cgroups.directory("pids", box.layout.cgroup(guest.id))
            assert pids is not None
            assert (pids / "pids.max").read_text().strip() == "77"

    box.run(story)


def test_freezing(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        script = "while :; do echo >> /tmp/n; sleep 0.01; done"
        async with started(box, helper, "sh", "-c", script) as guest:
            counted = box.layout.guest_state(guest.id) / "upper/tmp/n"
            await until(lambda: asyncio.to_thread(counted.exists))
            await guest.handle.freeze(True)
            before = counted.stat().st_size
            await asyncio.sleep(0.1)
            assert counted.stat().st_size == before
            await guest.handle.freeze(False)
            await until(lambda: asyncio.to_thread(lambda: counted.stat().st_size > before))

    box.run(story)


def test_signals_and_the_end(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        async with started(
            box, helper, "sh", "-c", "trap 'exit 5' TERM; sleep 100 & wait"
        ) as guest:
            await eventually(lambda: catches(guest.pid, 15), "the trap")
            await guest.handle.signal(15)
            assert (await guest.exit())["code"] == ["5"]
        with pytest.raises(Unavailable, match="not running"):
            await guest.handle.usage()
        with pytest.raises(Unavailable):
            await guest.execute("true")

    box.run(story)
