"""Guests that end between the governor's look and its act, on real control groups."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import pytest

from fakes.governing import FakeKernel
from member_values import goal, member
from needs import needs
from waiting import eventually
from wirt.aio import Nursery
from wirt.errors import NotFound
from wirt.governor.journal import Act
from wirt.host.governing import fence, observe
from wirt.host.governing.memory import Mover
from wirt.linux.cgroup import Cgroups, Mode
from wirt.linux.readings import Readings
from wirt.model.reading import Reading
from wirt.privileged import governing
from wirt.privileged.holds import Held, Hold, Safe

pytestmark = needs("root")
MIB = 1 << 20
STAYS, ENDS = "a" * 64, "b" * 64
WORK = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done; echo; exec sleep 1000"


class Kernel(FakeKernel):
    """The real one, asked without the helper between."""

    def __init__(self, groups: Cgroups, instance: str) -> None:
        super().__init__({})
        self.groups, self.instance = groups, instance

    async def govern(
        self, holds: Sequence[Hold], safe: tuple[Safe, ...] | None = None
    ) -> tuple[Held, ...]:
        return tuple(governing.hold(self.groups, self.path(one.id), one) for one in holds)

    async def squeeze(self, holds: Sequence[Hold]) -> tuple[Held, ...]:
        return tuple(governing.squeeze(self.groups, self.path(one.id), one) for one in holds)

    def path(self, name: str) -> str:
        return f"/{self.instance}/{name}"

    @contextmanager
    def guest(self, name: str) -> Iterator[Readings]:
        """A process that has worked a little, in a group, as long as the block lasts or until
        :meth:`end`."""
        path = self.path(name)
        self.groups.create(path)
        readings = Readings(self.groups, path)
        enter = "\n".join(
            f"echo $$ > {one}/cgroup.procs" for one in self.groups.directories(path) if one.is_dir()
        )
        with subprocess.Popen(["sh", "-ec", enter + "\n" + WORK], stdout=subprocess.PIPE) as busy:
            assert busy.stdout is not None
            assert busy.stdout.readline() == b"\n", "it has worked"
            try:
                yield readings
            finally:
                busy.kill()
                busy.wait()
                self.end(name)
                readings.close()

    def end(self, name: str) -> None:
        self.groups.kill(self.path(name))
        self.groups.remove(self.path(name))


@pytest.fixture
def kernel(session_tag: str) -> Iterator[Kernel]:
    groups = Cgroups.detect()
    made = Kernel(groups, f"wt{session_tag}g")
    yield made
    groups.remove(f"/{made.instance}")


def test_what_is_read_of_a_guest_that_ended_is_unknown_and_never_another_ones(
    kernel: Kernel,
) -> None:
    with kernel.guest(ENDS) as readings:
        first, second = readings.read(), readings.read()
        assert first.cpu_ns
        assert first.memory
        assert not observe.seen(first, second).blind
        kernel.end(ENDS)
        gone = readings.read()
        assert gone == Reading(at=gone.at, wait_ns=gone.wait_ns)
        assert readings.held() == (None, None)
        seen = observe.seen(second, gone)
        assert (seen.blind, seen.cpu, seen.disk, seen.anon) == (True, None, None, None)
        with kernel.guest(ENDS) as again:
            assert readings.read().memory is None, "whoever looked at the first run goes on so"
            new = again.read()
            assert new.cpu_ns
            assert new.cpu_ns < 10 * first.cpu_ns
            assert observe.seen(gone, new).blind
            cpu = observe.seen(new, again.read()).cpu
            assert cpu is not None
            assert 0 <= cpu < 1000 * 1024, "and from then on all is as ever"


def test_an_act_on_a_guest_that_ended_is_told_and_the_others_get_theirs(kernel: Kernel) -> None:
    with kernel.guest(STAYS), kernel.guest(ENDS):
        members = {name: member(name) for name in (STAYS, ENDS)}
        for one in members.values():
            one.use, one.limit, one.watched = 2 * MIB, 512 * MIB, False
            one.v2 = kernel.groups.mode is Mode.V2
        kernel.end(ENDS)

        async def story() -> dict[str, list[Any]]:
            nursery = Nursery("test")
            mover = Mover(kernel, nursery)
            told: dict[str, list[Any]] = {STAYS: [], ENDS: []}
            for entitled in (300, 40, 1):  # what is free, what is used, what has to be taken
                wanted = goal({STAYS: max(entitled, 40) * MIB, ENDS: entitled * MIB}, 512 * MIB)
                await mover.move(members, wanted, seconds=1.0)
                await eventually(lambda: not len(nursery), "all is taken")
                for change in mover.take_done():
                    told[change.guest].append(change)
            await mover.loosen(list(members.values()))
            await mover.kill_again(members[ENDS])
            await nursery.close()
            assert not nursery.failures
            return told

        told = asyncio.run(story())
        assert [one.failure for one in told[STAYS]] == [""] * len(told[STAYS])
        assert told[STAYS][-1].act is Act.SHRINK
        assert told[STAYS][-1].effect < 200 * MIB
        assert told[ENDS]
        assert all(one.failure and one.effect is None for one in told[ENDS])
        held = Readings(kernel.groups, kernel.path(ENDS)).held()
        assert fence.kept_now(members[ENDS], 5, held) == 5, "nothing of it is known to stay"


def test_nothing_that_the_helper_does_to_it_is_an_error_of_its_own(kernel: Kernel) -> None:
    with kernel.guest(ENDS):
        kernel.end(ENDS)
        path = kernel.path(ENDS)
        safe = Safe(id=ENDS, limit=-1, cpu=100, thaw=True, low=0, disk=0, disk_weight=100)
        governing.release(kernel.groups, path, safe)
        governing.protect(kernel.groups, path)
        for wish in ({"limit": MIB}, {"waits": False}, {"cpu": 100}, {"disk": 5}):
            held = governing.hold(kernel.groups, path, Hold(id=ENDS, **cast(Any, wish)))
            assert held.failure, wish
            assert (held.limit, held.use) == (None, None)
        assert governing.squeeze(kernel.groups, path, Hold(id=ENDS, limit=MIB)).failure
        with pytest.raises(NotFound):
            governing.watch(kernel.groups, path)
        with pytest.raises(FileNotFoundError):
            kernel.groups.freeze(path, True)
        with suppress(FileNotFoundError):
            kernel.groups.freeze(path, False)
        assert not kernel.groups.frozen(path)
