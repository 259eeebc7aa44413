"""Random interleavings of verbs, faults and deaths of the daemon; afterwards the world is true."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.clock import tell
from fakes.daemonlife import DaemonLife
from fakes.world import World
from wirt.aio import Nursery, shielded
from wirt.errors import NotFound, WirtError
from wirt.host.attach import Streams
from wirt.host.update import Update
from wirt.host.waits import Condition
from wirt.layout import Layout
from wirt.model.guest import Guest, GuestState, RestartName, RestartPolicy

NAMES = ("a", "b", "c")
DOWN = {GuestState.CREATED, GuestState.EXITED}
UP = {GuestState.RUNNING, GuestState.PAUSED}
SPECS: tuple[dict[str, Any], ...] = (
    {},
    {"remove_on_exit": True},
    {"restart": RestartPolicy(name=RestartName.ON_FAILURE, maximum_retries=2)},
    {"restart": RestartPolicy(name=RestartName.UNLESS_STOPPED)},
)
VERBS = (
    "create", "start", "start", "start", "stop", "restart", "kill", "rm", "rm-f", "pause",
    "unpause", "rename", "attach", "wait", "exit", "exit", "lose",
)  # fmt: skip

Op = tuple[str, str, int, bool]
OPS: st.SearchStrategy[Op] = st.tuples(
    st.sampled_from(VERBS), st.sampled_from(NAMES), st.integers(0, 3), st.booleans()
)
ROUNDS = st.lists(
    st.tuples(st.lists(OPS, min_size=3, max_size=14), st.booleans()), min_size=1, max_size=3
)


class Story:
    """Rounds of verbs that all run at once; between rounds the daemon may be killed."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.monkeypatch = monkeypatch
        self.daemon = DaemonLife(world, monkeypatch)
        self.clients = Nursery("clients")
        self.unanswered: set[str] = set()

    async def tell(self, rounds: list[tuple[list[Op], bool]]) -> None:
        await self.daemon.begin()
        for name in NAMES:
            await self.create(self.daemon, name)
        for ops, death in rounds:
            work = [self.clients.start(self.client(op), name=op[0]) for op in ops]
            if death:
                await asyncio.sleep(self.world.rng.random() * 2)
                await self.next_daemon()
            await asyncio.gather(*work)
            await self.settled()
            self.check()
        await self.put_everything_down()

    async def next_daemon(self) -> None:
        self.daemon.life.over = True
        self.unanswered.clear()
        for keeper in self.world.keepers.values():
            keeper.links.clear()
        new = DaemonLife(self.world, self.monkeypatch)
        await new.begin()
        self.daemon = new

    async def client(self, op: Op) -> None:
        """One request; its client may go away in the middle."""
        verb, name, patience, leaves = op
        rng = self.world.rng
        await asyncio.sleep(rng.random() * 0.3)
        daemon = await self.reachable()
        work = getattr(self, verb.replace("-", "_"))(daemon, name)
        task = asyncio.ensure_future(shielded(work, deadline=600.0))
        if leaves:
            await asyncio.wait({task}, timeout=patience * 0.2)
            task.cancel()
        while not task.done() and not daemon.life.over:
            await asyncio.wait({task}, timeout=1)
        with contextlib.suppress(WirtError, asyncio.CancelledError):
            if task.done():
                task.result()

    async def reachable(self) -> DaemonLife:
        """The daemon, as soon as one answers."""
        for _ in range(1000):
            if not self.daemon.life.over:
                break
            await asyncio.sleep(0.1)
        return self.daemon

    async def settled(self) -> None:
        """Long enough for every restart, retry and kill."""
        await asyncio.sleep(900)

    async def create(self, daemon: DaemonLife, name: str) -> None:
        await daemon.make(name, **self.world.rng.choice(SPECS))

    async def start(self, daemon: DaemonLife, name: str) -> None:
        await daemon.verbs.launch.start(daemon.roster.find(name))

    async def stop(self, daemon: DaemonLife, name: str) -> None:
        await daemon.verbs.stop.stop(daemon.roster.find(name), 1)

    async def restart(self, daemon: DaemonLife, name: str) -> None:
        await daemon.verbs.stop.restart(daemon.roster.find(name), 1)

    async def kill(self, daemon: DaemonLife, name: str) -> None:
        await daemon.verbs.signals.kill(daemon.roster.find(name), 9)

    async def rm(self, daemon: DaemonLife, name: str) -> None:
        await daemon.verbs.remove.remove(daemon.roster.find(name))

    async def rm_f(self, daemon: DaemonLife, name: str) -> None:
        await daemon.verbs.remove.remove(daemon.roster.find(name), force=True)

    async def pause(self, daemon: DaemonLife, name: str) -> None:
        await daemon.verbs.signals.pause(daemon.roster.find(name), True)

    async def unpause(self, daemon: DaemonLife, name: str) -> None:
        await daemon.verbs.signals.pause(daemon.roster.find(name), False)

    async def rename(self, daemon: DaemonLife, name: str) -> None:
        update = Update(
            roster=daemon.roster, running=daemon.running, engines={}, bus=daemon.bus,
            admit=daemon.admit,
        )  # fmt: skip
        await update.rename(daemon.roster.find(name), self.world.rng.choice(NAMES))

    async def attach(self, daemon: DaemonLife, name: str) -> None:
        guest = daemon.roster.find(name)
        daemon.attach.check(guest)
        client = os.open("/dev/null", os.O_RDONLY)
        await daemon.attach.attach(guest, client, Streams(stdin=True, stdout=True, stderr=True))

    async def wait(self, daemon: DaemonLife, name: str) -> None:
        async def waiting() -> None:
            with contextlib.suppress(NotFound):
                await answered(daemon.roster.find(name))

        async def answered(guest: Guest) -> None:
            with daemon.waits.expect(guest, Condition.NOT_RUNNING) as future:
                self.unanswered.add(guest.id)
                await future
                self.unanswered.discard(guest.id)

        daemon.nursery.start(waiting(), name="wait")

    async def exit(self, daemon: DaemonLife, name: str) -> None:
        self.world.exits(daemon.roster.find(name).id, self.world.rng.choice((0, 1)))

    async def lose(self, daemon: DaemonLife, name: str) -> None:
        self.world.loses(daemon.roster.find(name).id)

    async def put_everything_down(self) -> None:
        """After ``stop`` of everything, nothing runs ever again, and all can be removed."""
        self.world.glitch = self.world.refusal = 0.0
        for guest in tuple(self.daemon.roster.all()):
            with contextlib.suppress(WirtError):
                await self.daemon.verbs.stop.stop(guest, 1)
        await self.settled()
        assert self.world.keepers == {}
        assert {guest.status.state for guest in self.daemon.roster.all()} <= DOWN
        for guest in tuple(self.daemon.roster.all()):
            await self.daemon.verbs.remove.remove(guest)
        await self.settled()
        assert self.world.run_dirs() == set()
        assert (self.world.state, self.world.places, self.world.rows) == (set(), set(), {})
        assert self.unanswered == set()
        assert len(self.daemon.nursery) == 0

    def check(self) -> None:
        """What must be true whenever nothing is under way."""
        daemon, world = self.daemon, self.world
        known = {guest.id: guest for guest in daemon.roster.all()}
        assert known == world.rows, "memory and database agree"
        up = {guest_id for guest_id, guest in known.items() if guest.status.state in UP}
        assert {g.status.state for g in known.values()} <= UP | DOWN
        assert up == set(daemon.running.ids()), "who is up can be reached"
        assert up == set(world.keepers), "who is up runs, who is down does not"
        assert up == world.run_dirs(), "nothing is left of who is down"
        assert world.state <= set(known)
        assert world.places == set(known)
        assert self.unanswered <= up, "a wait for the end is answered at the end"
        for guest_id in up:
            paused = known[guest_id].status.state is GuestState.PAUSED
            assert world.keepers[guest_id].frozen is paused
        assert daemon.nursery.failures == 0


def world_at(folder: Path, seed: int, *, faults: bool = False) -> World:
    layout = Layout(name="t", state=folder / "state", run=folder / "run")
    glitch, refusal = (0.1, 0.2) if faults else (0.0, 0.0)
    return World(layout=layout, rng=random.Random(seed), glitch=glitch, refusal=refusal)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@settings(
    deadline=None,
    max_examples=int(os.environ.get("RACES", "60")),
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 2**32), rounds=ROUNDS, faults=st.booleans())
def test_whatever_happens_at_once_the_world_is_true_afterwards(
    seed: int, rounds: list[tuple[list[Op], bool]], faults: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        story = Story(world_at(Path(folder), seed, faults=faults), patch)
        tell(story.tell(rounds))
