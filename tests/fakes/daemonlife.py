"""A daemon's real use cases, wired as always, over a world of dictionaries."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from fakes.world import (
    FakeEvents,
    FakeGroups,
    FakeHandle,
    FakeHelper,
    FakeLink,
    FakeTable,
    Life,
    World,
)
from wirt.aio import Nursery
from wirt.daemon import wiring
from wirt.engine.protocol import Plan, Size, Start
from wirt.errors import Unavailable, WirtError
from wirt.guest.keeper import SLOW
from wirt.host.admit import Admit
from wirt.host.attach import Attach
from wirt.host.events import Bus
from wirt.host.groups import Groups
from wirt.host.insist import insist
from wirt.host.roster import Roster
from wirt.host.running import Running
from wirt.host.waits import Waits
from wirt.image import platform
from wirt.model.guest import Guest, GuestSpec, Isolation
from wirt.model.image import Image, ImageConfig
from wirt.model.network import Endpoint
from wirt.privileged import protocol as p

_HOST = platform.host()
IMAGE = Image(
    id="sha256:" + "b" * 64,
    manifest="sha256:" + "c" * 64,
    architecture=_HOST.architecture,
    os=_HOST.os,
    config=ImageConfig(cmd=("sh",)),
    diff_ids=(),
    chain_ids=(),
    size=0,
)


class FakeEngine:
    """Containers that the world runs."""

    isolation = Isolation.CONTAINER

    def __init__(self, world: World, life: Life) -> None:
        self._world, self._life = world, life

    def check(self, spec: GuestSpec) -> tuple[str, ...]:
        return ()

    def size(self, spec: GuestSpec) -> Size:
        return Size(memory=spec.resources.memory, cpu_millis=spec.resources.cpu_millis)

    def plan(self, start: Start) -> Plan:
        guest = start.guest
        launch = p.LaunchGuest(
            id=guest.id, tty=False, stdin=False, stdin_once=False, network="private",
            log_size=1, log_files=1,
        )  # fmt: skip
        return Plan(launch=launch)

    def give_up(self, error: WirtError) -> bool:
        return error.facts.get("errno") == 5 and self._world.gives_up

    def trust_again(self) -> None:
        self._world.trusted += 1

    def handle(self, guest: Guest, keeper: Any) -> FakeHandle:
        return FakeHandle(world=self._world, life=self._life, link=keeper)


class FakeHolders:
    """Images, volumes and networks in one: a guest has a place from creation to removal."""

    def __init__(self, world: World, life: Life) -> None:
        self._world, self._life = world, life

    async def find(self, text: str) -> Image:
        await self._life.breathe()
        return IMAGE

    get = find

    @contextlib.contextmanager
    def hold(self, image: Image) -> Iterator[None]:
        yield

    @contextlib.asynccontextmanager
    async def ready(self, image: Image, *, layers: bool, disk: bool) -> AsyncIterator[None]:
        await self._life.breathe()
        yield

    def check_runs_here(self, image: Image) -> None:
        return None

    async def claim(self, guest: Guest, image: Image) -> Guest:
        await self._life.breathe()
        self._world.places.add(guest.id)
        await self._life.breathe()
        return guest

    async def release(self, guest: Guest, *, volumes: bool) -> None:
        await self._life.breathe()
        self._world.places.discard(guest.id)
        await self._life.breathe()

    async def endpoints_for(self, *_: Any) -> tuple[Endpoint, ...]:
        await self._life.breathe()
        return ()

    async def nothing(self, *_: Any, **__: Any) -> Any:
        await self._life.breathe()
        return {}

    bridges = mtus = files = resolve_mounts = nothing


def connector(world: World, life: Life) -> Any:
    """What :class:`~wirt.host.running.Running` takes for keepers' connections."""

    async def connect(path: Path, *, on_event: Any, on_closed: Any, timeout: float = 5.0) -> Any:
        await life.breathe()
        keeper = world.keepers.get(path.parent.name)
        if keeper is None:
            raise Unavailable("no keeper answers")
        if keeper.stopped:
            await asyncio.sleep(timeout)
            raise Unavailable("it does not answer", code=SLOW)
        return FakeLink(keeper, on_event, on_closed)

    return SimpleNamespace(connect=connect)


class DaemonLife:
    """One daemon from its start to its end."""

    def __init__(self, world: World, monkeypatch: Any) -> None:
        self.world = world
        self.life = Life(world.rng)
        life = self.life
        monkeypatch.setattr("wirt.host.running.KeeperLink", connector(world, life))
        monkeypatch.setattr("wirt.host.create.new_id", lambda: f"{world.rng.getrandbits(256):064x}")
        self.nursery = Nursery("test")
        self.roster = Roster(cast(Any, FakeTable(world, life)))
        self.engines = {Isolation.CONTAINER: FakeEngine(world, life)}
        self.running = Running(world.layout, cast(Any, self.engines))
        self.helper = FakeHelper(world, life)
        self.waits = Waits()
        self.attach = Attach(self.roster, self.running)
        self.bus = Bus(cast(Any, FakeEvents()), self.nursery)
        holders = FakeHolders(world, life)
        self.groups = Groups(cast(Any, FakeGroups(world, life)))
        self.admit = Admit(
            roster=self.roster, groups=self.groups, engines=cast(Any, self.engines),
            capacity=world.capacity,
        )  # fmt: skip
        ground = SimpleNamespace(
            layout=world.layout, roster=self.roster, engines=self.engines, running=self.running,
            helper=self.helper, waits=self.waits, attach=self.attach, bus=self.bus,
            nursery=self.nursery, claims=SimpleNamespace(
                admit=self.admit, shaping=SimpleNamespace(starting=_free)
            ),
            governing=SimpleNamespace(
                governor=SimpleNamespace(newcomers=SimpleNamespace(starting=_unfenced))
            ),
        )  # fmt: skip
        self.verbs = wiring.Life(
            cast(Any, ground),
            cast(Any, SimpleNamespace(images=holders, volumes=holders)),
            cast(Any, SimpleNamespace(networks=holders)),
        )

    async def begin(self) -> None:
        """What a daemon does before it answers."""
        await self.roster.open()
        await self.groups.open()
        await self.verbs.adopt.adopt_all()
        await insist(
            cast(Any, self.helper),
            p.Sweep(
                running=(*self.running.ids(), *self.verbs.adopt.slow()),
                guests=tuple(guest.id for guest in self.roster.all()),
                volumes=(), layers=(), images=(),
            ),
        )  # fmt: skip
        self.world.places &= {guest.id for guest in self.roster.all()}
        self.verbs.adopt.go_on(self.nursery)
        self.verbs.revive.all()

    async def make(self, name: str, **spec: Any) -> Guest:
        """A created guest."""
        return await self.verbs.create.create(replace(GuestSpec(image="busybox"), **spec), name)


@contextlib.asynccontextmanager
async def _unfenced(guest: Guest) -> AsyncIterator[None]:
    """Nobody's memory is divided here."""
    yield


async def _free(guest: Guest) -> None:
    """Nobody's traffic is limited here."""
