"""A small host on which promises are given."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from fakes.daemonlife import DaemonLife
from fakes.world import FakeCapacity, World
from wirt.host.grouping import Grouping
from wirt.host.ledger import Ledger
from wirt.host.update import Update, Wish
from wirt.layout import Layout
from wirt.model.guest import Guest, GuestState, RestartName, RestartPolicy
from wirt.model.resources import Resources

MIB = 1 << 20
ALWAYS = RestartPolicy(name=RestartName.ALWAYS)


class Host:
    """A daemon on a host of two CPUs and 1000 MiB, and what the tests do with it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, rng: random.Random) -> None:
        layout = Layout(name="t", state=folder / "state", run=folder / "run")
        self.monkeypatch = monkeypatch
        self.world = World(
            layout=layout, rng=rng, capacity=FakeCapacity(cpu=2000, memory=1000 * MIB)
        )
        self.use(DaemonLife(self.world, monkeypatch))

    def use(self, daemon: DaemonLife) -> None:
        d = self.daemon = daemon
        self.grouping = Grouping(groups=d.groups, admit=d.admit, bus=d.bus)
        self.ledger = Ledger(roster=d.roster, groups=d.groups, admit=d.admit)
        self.updates = Update(
            roster=d.roster,
            running=d.running,
            engines=cast(Any, d.engines),
            bus=d.bus,
            admit=d.admit,
        )

    async def next_daemon(self) -> None:
        self.daemon.life.over = True
        for keeper in self.world.keepers.values():
            keeper.links.clear()
        self.use(DaemonLife(self.world, self.monkeypatch))
        await self.daemon.begin()

    async def make(self, name: str, *, cpu: int = 0, memory: int = 0, **spec: Any) -> Guest:
        resources = Resources(cpu_reservation=cpu or None, memory_reservation=memory * MIB or None)
        return await self.daemon.make(name, resources=resources, **spec)

    async def run(self, name: str, **wish: Any) -> Guest:
        return await self.daemon.verbs.launch.start(await self.make(name, **wish))

    async def start(self, name: str) -> Guest:
        return await self.daemon.verbs.launch.start(self.daemon.roster.find(name))

    async def group(
        self, path: str, *, cpu: int = 0, memory: int = 0, expandable: bool = False
    ) -> None:
        resources = Resources(cpu_reservation=cpu, memory_reservation=memory * MIB)
        await self.grouping.create(path, resources, expandable=expandable)

    async def update(self, name: str, **wish: Any) -> None:
        await self.updates.update(self.daemon.roster.find(name), Wish(**wish))

    def state(self, name: str) -> GuestState:
        return self.daemon.roster.find(name).status.state


async def until(there: Callable[[], bool]) -> None:
    """Let one turn of the loop after the other pass."""
    for _ in range(100_000):
        if there():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


class Calm(random.Random):
    """Chance that always says no: everything takes one turn, nothing fails, signals are heard."""

    def random(self) -> float:
        return 0.5

    def randrange(self, *_: int, **__: int) -> int:  # type: ignore[override]
        return 1
