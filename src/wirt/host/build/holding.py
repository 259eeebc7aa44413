"""What a build holds while it goes on, so that no collection takes it away."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from wirt.host.layers import Intake, Layers
from wirt.image.store import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Blobs by a lease, layers by name. What belongs to nothing at the end of the build, goes: all
    that a failed one made but the results of its finished steps, and what only its steps saw, as
    the context when a RUN mounts it."""

    intake: Intake
    layers: Layers
    stack: contextlib.ExitStack

    @property
    def lease(self) -> Lease:
        return self.intake.lease

    def use(self, chain_ids: Iterable[str]) -> None:
        """Keep layers that are there."""
        self.stack.enter_context(self.layers.hold(tuple(chain_ids)))

    def make(self, chain_id: str) -> None:
        """Keep a layer that is about to be made."""
        self.intake.chain_ids.append(chain_id)
        self.use((chain_id,))


@contextlib.asynccontextmanager
async def holding(layers: Layers) -> AsyncIterator[Holding]:
    """Hold things until the block ends."""
    async with layers.intake() as intake:
        with contextlib.ExitStack() as stack:
            yield Holding(intake=intake, layers=layers, stack=stack)
        if intake.chain_ids:  # not when all came from the cache
            await layers.tidy(intake)
