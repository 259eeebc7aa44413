"""Real machines under emulation are resized while they run: memory, processors, disks."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from machinebox import BOOT, Box, Session, box, facts, image, plan_of
from needs import needs
from wirt.engine.protocol import ResolvedMount
from wirt.errors import Conflict, Unsupported
from wirt.linux import usage
from wirt.model.guest import GuestSpec, Isolation
from wirt.model.resources import Resources
from wirt.model.volume import MountKind
from wirt.qemu.device.disk import LEAST_RATE
from wirt.qemu.host import MachineHost

__all__ = ["box", "facts", "image"]
pytestmark = needs("root", "mountns", "qemu", "erofs", "busybox", "keeper", "agent", "guest-kernel")

MIB = 1 << 20


async def _total(session: Session) -> int:
    """The guest's own figure, in bytes; its kernel has kept some of it for itself."""
    code, text = await session.execute("grep", "MemTotal", "/proc/meminfo")
    assert code == 0
    return int(text.split()[1]) * 1024


@pytest.mark.timeout(400)
@pytest.mark.parametrize("shared", [False, True])
def test_a_vm_grows_beyond_its_start_and_shrinks_again(
    box: Box, facts: MachineHost, shared: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    mount = ResolvedMount(kind=MountKind.BIND, target="/v", source=str(folder))
    mounts = (mount,) if shared else ()
    spec = GuestSpec(image="busybox", resources=Resources(memory=256 * MIB))
    plan = plan_of(facts, "sleep", "1000", kind=Isolation.VM, spec=spec, box=box, mounts=mounts)
    box.launch(*plan)

    async def story() -> None:
        async with asyncio.timeout(6 * BOOT), box.session(boot=True) as session:
            limit = session.handle.limit
            first = await _total(session)
            await limit(Resources(memory=640 * MIB))
            grown = await _total(session)
            assert grown - first == 384 * MIB
            mount = "mkdir /t; mount -t tmpfs -o size=500m t /t"
            fill = "dd if=/dev/zero of=/t/x bs=1M count=400"
            done = await session.execute("sh", "-c", f"{mount}; {fill}")
            assert done[0] == 0, done
            if shared:
                done = await session.execute("sh", "-c", "cat /t/x >/v/x")
                assert (done[0], (folder / "x").stat().st_size) == (0, 400 * MIB)
            held = usage.read(box.cgroups, box.layout.cgroup(box.guest.id))
            assert held.memory is not None
            assert held.memory > 400 * MIB
            # What is full cannot be given back: it keeps what it had.
            await _told(session)
            with pytest.raises(Conflict, match=r"needs [45]\d\d.* of memory now"):
                await limit(Resources(memory=256 * MIB))
            assert await _total(session) == grown
            assert (await session.execute("wc", "-c", "/t/x"))[1] == b"419430400 /t/x\n"
            assert (await session.execute("rm", "/t/x"))[0] == 0
            await _told(session)
            await limit(Resources(memory=200 * MIB))
            assert await _left(session) == 200 * MIB
            with pytest.raises(Unsupported, match="can have at most 8GiB of memory"):
                await limit(Resources(memory=9 << 30))
            assert (await session.execute("echo", "alive")) == (0, b"alive\n")

    asyncio.run(story())


def test_a_vm_gets_further_processors(box: Box, facts: MachineHost) -> None:
    box.launch(*plan_of(facts, "sleep", "1000", kind=Isolation.VM, box=box))

    async def story() -> None:
        async with asyncio.timeout(4 * BOOT), box.session(boot=True) as session:
            assert (await session.execute("nproc"))[1] == b"1\n"
            await session.handle.limit(Resources(cpu_millis=1500))
            assert (await session.execute("nproc"))[1] == b"2\n"
            await session.handle.limit(Resources(cpu_millis=2000))
            with pytest.raises(Unsupported, match="can have at most 2 CPUs"):
                await session.handle.limit(Resources(cpu_millis=2001))

    asyncio.run(story())


def test_a_microvm_shrinks_and_grows_up_to_its_start(box: Box, facts: MachineHost) -> None:
    box.launch(*plan_of(facts, "sleep", "1000", box=box))

    async def story() -> None:
        async with asyncio.timeout(4 * BOOT), box.session(boot=True) as session:
            limit = session.handle.limit
            await limit(Resources(memory=160 * MIB))
            assert await _left(session) == 160 * MIB
            await limit(Resources(memory=256 * MIB))
            assert await _left(session) == 256 * MIB
            with pytest.raises(Unsupported, match="microvm can have at most 256MiB"):
                await limit(Resources(memory=258 * MIB))
            with pytest.raises(Unsupported, match="microvm can have at most 1 CPU"):
                await limit(Resources(cpu_millis=1001))

    asyncio.run(story())


async def _told(session: Session) -> None:
    """Wait until the guest has told anew how its memory is used."""
    asked = time.time() + 1
    while True:
        if (await session.monitor.figures()).at > asked:
            return
        await asyncio.sleep(0.2)


async def _left(session: Session) -> int:
    return (await session.monitor.memory()).left


@pytest.mark.parametrize("kind", [Isolation.MICROVM, Isolation.VM])
def test_a_disk_is_throttled_from_the_start_and_anew(
    box: Box, facts: MachineHost, kind: Isolation
) -> None:
    spec = GuestSpec(image="busybox", resources=Resources(io_limit=8_000_000))
    box.launch(*plan_of(facts, "sleep", "1000", kind=kind, spec=spec, box=box))

    async def story() -> tuple[float, float]:
        async with asyncio.timeout(4 * BOOT), box.session(boot=True) as session:
            slow = await _seconds_to_write(session)
            await session.handle.limit(Resources(io_limit=0))
            fast = await _seconds_to_write(session)
            await session.handle.limit(Resources(io_limit=5_000_000))
            assert await session.monitor.disk_limits() == {
                "bps-read": 5_000_000, "bps-write": 5_000_000,
            }  # fmt: skip
            return slow, fast

    slow, _ = asyncio.run(story())
    # 48 MB at 8 MB/s, the first tenth of a second of which may come at once.
    assert slow > 5


@pytest.mark.parametrize("kind", [Isolation.MICROVM, Isolation.VM])
def test_a_machine_bears_the_slowest_disk(box: Box, facts: MachineHost, kind: Isolation) -> None:
    """It boots, nothing fails, and what it has written is there."""
    spec = GuestSpec(image="busybox", resources=Resources(io_limit=LEAST_RATE))
    box.launch(*plan_of(facts, "sleep", "1000", kind=kind, spec=spec, box=box))
    write = "dd if=/dev/zero of=/x bs=1k count=200 conv=fsync && echo 3 >/proc/sys/vm/drop_caches"

    async def story() -> None:
        async with asyncio.timeout(4 * BOOT), box.session(boot=True) as session:
            assert (await session.execute("sh", "-c", write))[0] == 0
            done = await session.execute("wc", "-c", "/x")
            assert done == (0, b"204800 /x\n")

    asyncio.run(story())
    assert "I/O error" not in (box.run / "console.log").read_text()


async def _seconds_to_write(session: Session) -> float:
    began = time.monotonic()
    write = "dd if=/dev/urandom of=/x bs=1000000 count=48 conv=fsync"
    assert (await session.execute("sh", "-c", write))[0] == 0
    return time.monotonic() - began
