"""Real machines under emulation: their memory is taken, given, returned, and told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from machinebox import BOOT, Box, Session, box, facts, image, plan_of
from needs import needs
from wirt.engine.protocol import Elastic, ResolvedMount
from wirt.linux import usage
from wirt.model.guest import GuestSpec, Isolation
from wirt.model.reading import InnerMemory
from wirt.model.resources import Resources
from wirt.model.volume import MountKind
from wirt.qemu.host import MachineHost

__all__ = ["box", "facts", "image"]
pytestmark = needs("root", "mountns", "qemu", "erofs", "busybox", "keeper", "agent", "guest-kernel")

MIB = 1 << 20
KINDS = pytest.mark.parametrize("kind", [Isolation.MICROVM, Isolation.VM])


def _sized(memory: int) -> GuestSpec:
    return GuestSpec(image="busybox", resources=Resources(memory=memory))


def _held(box: Box) -> int:
    """Bytes of the host that the machine's programs hold."""
    memory = usage.read(box.cgroups, box.layout.cgroup(box.guest.id)).memory
    assert memory is not None
    return memory


async def _once(
    session: Session, holds: Callable[[InnerMemory], bool], seconds: float = BOOT
) -> InnerMemory:
    """Its memory as soon as ``holds`` says so."""
    elastic = cast(Elastic, session.handle)
    async with asyncio.timeout(seconds):
        while True:
            memory = await elastic.inner_memory()
            if holds(memory):
                return memory
            await asyncio.sleep(0.2)


def _fill(mebibytes: int) -> str:
    """A script that fills so much memory; it comes back when /t/x is deleted."""
    mount = "[ -e /t ] || { mkdir /t; mount -t tmpfs -o size=100% t /t; }"
    return f"{mount}; dd if=/dev/zero of=/t/x bs=1M count={mebibytes}"


async def _seconds_to_return(session: Session, box: Box) -> float:
    """How long it takes until nine tenths of 1 GiB that the guest frees are the host's."""
    assert (await session.execute("sh", "-c", _fill(1024)))[0] == 0
    full = _held(box)
    assert full > 1024 * MIB
    assert (await session.execute("rm", "/t/x"))[0] == 0
    began = time.monotonic()
    while full - _held(box) < 922 * MIB:
        await asyncio.sleep(0.2)
        assert time.monotonic() - began < BOOT
    return time.monotonic() - began


@KINDS
def test_a_balloon_takes_and_gives_and_its_guest_tells(
    box: Box, facts: MachineHost, kind: Isolation
) -> None:
    spec = _sized(512 * MIB)
    box.launch(*plan_of(facts, "sleep", "1000", kind=kind, spec=spec, box=box))

    async def story() -> None:
        async with asyncio.timeout(4 * BOOT), box.session(boot=True) as session:
            elastic = cast(Elastic, session.handle)
            first = await _once(session, lambda now: now.available is not None)
            assert first.size == 512 * MIB
            assert first.available is not None
            assert 256 * MIB < first.available < 512 * MIB
            assert first.major is not None
            await elastic.set_inner_memory(300 * MIB)
            small = await _once(
                session,
                lambda now: now.size == 300 * MIB and (now.available or MIB << 9) < 300 * MIB,
            )
            assert small.available is not None
            assert 100 * MIB < first.available - small.available < 300 * MIB
            await elastic.set_inner_memory(1 << 50)
            await _once(session, lambda now: now.size == 512 * MIB)
            # Never so little that it could not live.
            await elastic.set_inner_memory(0)
            floor = (96 if kind is Isolation.MICROVM else 128) * MIB
            await _once(session, lambda now: now.size <= 200 * MIB)
            await asyncio.sleep(2)
            assert (await elastic.inner_memory()).size >= floor
            assert (await session.execute("echo", "alive")) == (0, b"alive\n")

    asyncio.run(story())


def test_an_inflated_balloon_gives_way_instead_of_the_guests_programs(
    box: Box, facts: MachineHost
) -> None:
    box.launch(*plan_of(facts, "sleep", "1000", spec=_sized(512 * MIB), box=box))

    async def story() -> None:
        async with asyncio.timeout(4 * BOOT), box.session(boot=True) as session:
            elastic = cast(Elastic, session.handle)
            await _once(session, lambda now: now.available is not None)
            await elastic.set_inner_memory(200 * MIB)
            await _once(session, lambda now: now.size == 200 * MIB)
            done = await session.execute("sh", "-c", _fill(300))
            assert done[0] == 0, done
            assert (await elastic.inner_memory()).size > 300 * MIB
            assert (await session.execute("wc", "-c", "/t/x"))[1] == b"314572800 /t/x\n"

    asyncio.run(story())


@pytest.mark.parametrize("shared", [False, True])
@KINDS
def test_memory_that_a_guest_frees_goes_back_without_being_asked_for(
    box: Box, facts: MachineHost, kind: Isolation, shared: bool, tmp_path: Path
) -> None:
    """1 GiB is freed; nine tenths of it must be the host's within 15 s. ``shared``: with a shared
    folder, for which the memory is one that two processes map."""
    folder = tmp_path / "folder"
    folder.mkdir()
    mount = ResolvedMount(kind=MountKind.BIND, target="/v", source=str(folder))
    box.launch(
        *plan_of(
            facts, "sleep", "1000", kind=kind, spec=_sized(1408 * MIB), box=box,
            mounts=(mount,) if shared else (),
        )
    )  # fmt: skip

    async def story() -> float:
        async with asyncio.timeout(4 * BOOT), box.session(boot=True) as session:
            await _once(session, lambda now: now.available is not None)
            return min([await _seconds_to_return(session, box) for _ in range(2)])

    # Measured on a busy machine of two processors: 7 to 8 s.
    assert asyncio.run(story()) < 15


def test_a_machine_that_stands_still_becomes_unknown_never_empty(
    box: Box, facts: MachineHost
) -> None:
    box.launch(*plan_of(facts, "sleep", "1000", box=box))

    async def story() -> None:
        async with asyncio.timeout(4 * BOOT), box.session(boot=True) as session:
            await _once(session, lambda now: now.available is not None)
            await session.monitor.stop()
            old = await _once(session, lambda now: now.available is None)
            assert (old.free, old.cache, old.major) == (None, None, None)
            assert old.age is not None
            assert old.age > 6
            assert old.size == 256 * MIB
            await session.monitor.cont()
            await _once(session, lambda now: now.available is not None)

    asyncio.run(story())
