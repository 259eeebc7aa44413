"""The registry's classes, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from wirt.api.registry.app import Registry
from wirt.api.registry.blobs import BlobAnswers
from wirt.api.registry.lists import ListAnswers
from wirt.api.registry.manifests import ManifestAnswers
from wirt.api.registry.server import Doors
from wirt.api.registry.uploads import UploadAnswers
from wirt.host.events import Bus
from wirt.host.pipe import Pipes
from wirt.host.registry.adopt import Adopt
from wirt.host.registry.blobs import Blobs
from wirt.host.registry.collect import CollectRegistry, RegistryRoots
from wirt.host.registry.listeners import Listeners
from wirt.host.registry.manifests import Manifests
from wirt.host.registry.mark import Mark
from wirt.host.registry.tokens import Tokens
from wirt.host.registry.uploads import Uploads
from wirt.image.store import BlobStore
from wirt.state.db import Database
from wirt.state.listeners import ListenerTable
from wirt.state.repositories import RepositoryTable


class RegistryParts:
    """The use cases of the registry, and the listeners that serve them.

    ``sweep``: deletes all blobs that nobody wants. ``freed``: asks for that, soon.
    """

    def __init__(
        self,
        *,
        db: Database,
        store: BlobStore,
        pipes: Pipes,
        bus: Bus,
        sweep: Callable[[], Awaitable[int]],
        freed: Callable[[], None],
    ) -> None:
        table = RepositoryTable(db)
        blobs = Blobs(store=store, pipes=pipes, table=table, freed=freed)
        self.uploads = Uploads(store=store, pipes=pipes, table=table)
        self.manifests = Manifests(store=store, pipes=pipes, table=table, freed=freed)
        self.adopt = Adopt(store=store, pipes=pipes, table=table)
        self.roots = RegistryRoots(table)
        self.collect = CollectRegistry(table, sweep)
        self.mark = Mark()
        registry = Registry(
            blobs=BlobAnswers(blobs),
            uploads=UploadAnswers(uploads=self.uploads, blobs=blobs),
            manifests=ManifestAnswers(self.manifests, store.room),
            lists=ListAnswers(self.manifests),
            mark=self.mark,
        )
        self.listeners = Listeners(
            table=ListenerTable(db), door=Doors(registry, Tokens()).open, bus=bus
        )

    async def close(self) -> None:
        """End all connections and what they were uploading."""
        await self.listeners.close()
        await self.uploads.close()
