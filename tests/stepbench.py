"""The runner of build steps for tests: on a real helper, with real networks and a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from helperlab import LAYER, Lab, lab
from wirt.aio import Nursery
from wirt.host.build.caches import BuildCaches
from wirt.host.build.ground import BuildGround
from wirt.host.build.runner import Steps
from wirt.host.events import Bus
from wirt.host.layers import Layers
from wirt.host.naming import Naming
from wirt.host.networks import Networks
from wirt.host.pipe import Pipes
from wirt.host.roots import Reach
from wirt.host.roster import Roster
from wirt.host.uses import Uses
from wirt.image.build.step import LayerMade, RunStep
from wirt.image.store import BlobStore, Lease
from wirt.model.guest import Isolation
from wirt.network.forward import Forwarder
from wirt.privileged.client import Helper
from wirt.state.db import Database
from wirt.state.events import EventTable
from wirt.state.guests import GuestTable
from wirt.state.manifests import ManifestTable
from wirt.state.networks import NetworkTable
from wirt.state.uses import UseTable

T = TypeVar("T")
PATIENCE = 60.0


@dataclass(kw_only=True)
class Bench:
    """Runs steps and remembers what they wrote."""

    lab: Lab
    ground: BuildGround
    caches: BuildCaches
    steps: Steps
    lease: Lease
    told: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def output(self) -> str:
        return b"".join(data for _, data in self.told).decode()

    async def run(self, script: str, *, base: tuple[str, ...] = (LAYER,), **more: Any) -> LayerMade:
        """Run a shell script as a step."""
        step = RunStep(argv=("/bin/sh", "-c", script), env=("PATH=/bin",), network="none")
        return await self.go(replace(step, **more), base=base)

    async def go(self, step: RunStep, *, base: tuple[str, ...] = (LAYER,)) -> LayerMade:
        self.told.clear()
        return await self.steps.run(
            base, step, lambda stream, data: self.told.append((stream, data)), lease=self.lease
        )

    def files(self, made: LayerMade) -> Path:
        """The unpacked layer."""
        return self.ground.layout.layers / made.chain_id.removeprefix("sha256:") / "diff"


@asynccontextmanager
async def bench(box: Lab) -> AsyncIterator[Bench]:
    """The runner on top of a lab's helper."""
    layout = box.layout
    helper, db, nursery = Helper(layout.helper_socket), Database(layout.database), Nursery("bench")
    await db.open()
    bus = Bus(EventTable(db), nursery)
    await bus.open()
    store, pipes = BlobStore(layout.blobs, layout.uploads), Pipes()
    store.open_store()
    roster = Roster(GuestTable(db))
    naming = Naming(helper=helper, guests=roster.all, nursery=nursery, forwarder=Forwarder())
    networks = Networks(
        layout=layout, table=NetworkTable(db), helper=helper, guests=roster, naming=naming, bus=bus
    )
    await networks.open()
    ground = BuildGround(
        layout=layout,
        helper=helper,
        engines={Isolation.CONTAINER: box.engine},
        networks=networks,
        pipes=pipes,
        store=store,
        layers=Layers(helper, store, Reach(ManifestTable(db), ()), Uses(UseTable(db))),
    )
    caches = BuildCaches(helper)
    try:
        with store.lease() as lease:
            yield Bench(
                lab=box, ground=ground, caches=caches, steps=Steps(ground, caches), lease=lease
            )
    finally:
        await networks.close()
        await nursery.close()
        await helper.close()
        await db.close()
        pipes.close()


def boxes(tmp_path: Path, instance_name: str) -> Iterator[Lab]:
    """A fixture: a lab in which steps leave nothing behind."""
    with lab(instance_name, tmp_path) as made:
        yield made
        assert made.settled() == []
        assert list((made.layout.state / "guests").iterdir()) == []


def tell(box: Lab, story: Callable[[Bench], Awaitable[T]]) -> T:
    """Run a story."""

    async def whole() -> T:
        async with bench(box) as made:
            return await asyncio.wait_for(story(made), PATIENCE)

    return asyncio.run(whole())
