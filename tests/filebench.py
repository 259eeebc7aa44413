"""The whole of images, volumes and file copy for tests: a real helper process (only with the verbs
of this area), the use cases on a real database, and archives made by hand.

The helper is forked into a mount namespace of its own, so nothing it could mount by mistake is
seen outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from byhand import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Entry,
    OciLayout,
    config_json,
    describe,
    digest,
    directory,
    docker_archive,
    file,
    hard_link,
    symlink,
    tar,
)
from wirt.aio import Locks, Nursery
from wirt.host.archive import Archive
from wirt.host.collect import Cache, Collect, LayerCaches, UnnamedImages
from wirt.host.events import Bus
from wirt.host.images import Images
from wirt.host.import_image import ImportImage, ImportWish
from wirt.host.layers import Layers, Limits
from wirt.host.load import LoadImages
from wirt.host.pipe import Pipes
from wirt.host.roots import ImageRoots, Reach
from wirt.host.save import SaveImages
from wirt.host.unpack import Unpack
from wirt.host.uses import Uses
from wirt.host.volumes import Volumes
from wirt.image.budget import Budget
from wirt.image.store import BlobStore
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.model.guest import Guest
from wirt.model.image import Image
from wirt.privileged import faults
from wirt.privileged.client import Helper
from wirt.privileged.context import Context
from wirt.privileged.overlay import private_mounts
from wirt.privileged.server import Server
from wirt.privileged.verbs import changes as change_verbs
from wirt.privileged.verbs import images as image_verbs
from wirt.privileged.verbs import trees as tree_verbs
from wirt.privileged.verbs import usage as usage_verbs
from wirt.privileged.verbs import volumes as volume_verbs
from wirt.state.db import Database
from wirt.state.events import EventTable
from wirt.state.images import ImageTable
from wirt.state.manifests import ManifestTable
from wirt.state.store import StoreTable
from wirt.state.uses import UseTable
from wirt.state.volumes import VolumeTable

__all__ = [
    "OCI_CONFIG",
    "OCI_INDEX",
    "OCI_LAYER",
    "OCI_MANIFEST",
    "Entry",
    "OciLayout",
    "config_json",
    "describe",
    "digest",
    "directory",
    "docker_archive",
    "file",
    "hard_link",
    "symlink",
    "tar",
]
"""Tests of images find these here as well."""

T = TypeVar("T")

ROUTES = {
    route.verb: route
    for module in (change_verbs, image_verbs, tree_verbs, usage_verbs, volume_verbs)
    for route in module.HANDLERS
}


def context(base: Path) -> Context:
    """A helper's facts for an instance below ``base``."""
    return Context(
        layout=Layout(name="wt", state=base / "state", run=base / "run"),
        uid=os.getuid(),
        gid=os.getgid(),
        cgroups=Cgroups(v1={}, v2=None),
        keeper=Path("/bin/true"),
    )


@contextlib.contextmanager
def helper_process(base: Path, *, arm: bool = False) -> Iterator[Context]:
    """A helper that serves below ``base`` until the block ends. ``arm``: it may be killed at the
    step that ``WIRT_FAULT`` names."""
    ctx = context(base)
    for path in (ctx.layout.state, ctx.layout.run):
        path.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    ctx.layout.helper_socket.unlink(missing_ok=True)
    listener.bind(os.fspath(ctx.layout.helper_socket))
    listener.listen()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.setsid()
            os.umask(0o022)
            private_mounts()
            if arm:
                faults.arm()
            Server(ctx, listener, ROUTES).serve()
        os._exit(1)
    listener.close()
    try:
        yield ctx
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@dataclass(kw_only=True)
class NoOne:
    """The guests that run: none."""

    def get(self, guest_id: str) -> None:
        del guest_id


@dataclass(kw_only=True)
class Bench:
    """The use cases, wired."""

    layout: Layout
    helper: Helper
    db: Database
    bus: Bus
    pipes: Pipes
    store: BlobStore
    table: ImageTable
    manifests: ManifestTable
    reach: Reach
    layers: Layers
    collect: Collect
    uses: Uses
    images: Images
    load_images: LoadImages
    save_images: SaveImages
    import_image: ImportImage
    volumes: Volumes
    archive: Archive
    told: list[Mapping[str, str]] = field(default_factory=list)

    async def tell(self, line: Mapping[str, object]) -> None:
        self.told.append({key: str(value) for key, value in line.items()})

    async def load(self, archive: bytes | Path) -> tuple[Image, ...]:
        """Load an archive given as bytes or as a file."""
        return await self.load_images.load(pieces(archive), self.tell)

    async def save(self, *names: str, form: str = "docker") -> bytes:
        """The bytes of a saved archive."""
        chosen = await self.save_images.choose(names, form)
        return b"".join([chunk async for chunk in self.save_images.stream(chosen, form)])

    async def take(self, rootfs: bytes, reference: str = "", **wish: Any) -> Image:
        """Import a root file system."""
        return await self.import_image.run(
            pieces(rootfs), ImportWish(reference=reference, **wish), self.tell
        )

    def diff(self, image: Image, number: int = -1) -> Path:
        """The unpacked files of one layer."""
        return self.layout.layers / image.chain_ids[number].removeprefix("sha256:") / "diff"

    async def add_guest(self, guest: Guest) -> None:
        """A row as the guests' own table would write it."""
        row = (guest.id, guest.name, guest.created_at, guest.image_id, msgspec.json.encode(guest))
        await self.db.call(
            lambda sql: sql.execute(
                "INSERT INTO guests (id, name, created_at, image_id, body) VALUES (?,?,?,?,?)", row
            )
        )

    async def remove_guest(self, guest: Guest) -> None:
        """Take the row away."""
        await self.db.call(lambda sql: sql.execute("DELETE FROM guests WHERE id = ?", (guest.id,)))

    def on_disk(self) -> dict[str, set[str]]:
        """What the store holds: names of blobs, uploads, layers, disks, volumes."""
        layout = self.layout
        folders = {
            "blobs": layout.blobs / "sha256",
            "uploads": layout.uploads,
            "layers": layout.layers,
            "disks": layout.disks,
            "volumes": layout.volumes,
        }
        return {
            what: {p.name for p in path.iterdir()} if path.is_dir() else set()
            for what, path in folders.items()
        }


@contextlib.asynccontextmanager
async def bench(
    ctx: Context, *, limits: Limits | None = None, max_disk: int = 0
) -> AsyncIterator[Bench]:
    """Everything on top of a helper process."""
    layout = ctx.layout
    helper, db = Helper(layout.helper_socket), Database(layout.database)
    await db.open()
    nursery = Nursery("bench")
    bus = Bus(EventTable(db), nursery)
    await bus.open()
    budget = Budget(max_disk)
    store = BlobStore(layout.blobs, layout.uploads, budget=budget)
    store.open_store()
    table, pipes, manifests = ImageTable(db), Pipes(), ManifestTable(db)
    reach = Reach(manifests, [ImageRoots(table)])
    uses, rows = Uses(UseTable(db)), StoreTable(db)
    layers = Layers(helper, store, reach, uses, limits=limits, budget=budget)
    unpack = Unpack(layers, table)
    caches: list[Cache] = [LayerCaches(layers, rows), UnnamedImages(layers, rows)]
    collect = Collect(helper, store, budget, caches)
    await collect.open()
    images = Images(pipes, store, layers, unpack, table, bus)
    load = LoadImages(pipes, store, layers, table, bus)
    volumes = Volumes(helper, VolumeTable(db), layout, bus)
    try:
        yield Bench(
            layout=layout,
            helper=helper,
            db=db,
            bus=bus,
            pipes=pipes,
            store=store,
            table=table,
            manifests=manifests,
            reach=reach,
            layers=layers,
            collect=collect,
            uses=uses,
            images=images,
            load_images=load,
            save_images=SaveImages(pipes, store, images, layers, manifests, bus),
            import_image=ImportImage(pipes, store, layers, load, bus),
            volumes=volumes,
            archive=Archive(
                helper=helper,
                pipes=pipes,
                images=images,
                volumes=volumes,
                running=NoOne(),
                locks=Locks(),
            ),
        )
    finally:
        await nursery.close()
        await helper.close()
        await db.close()
        pipes.close()


def run(
    base: Path,
    story: Callable[[Bench], Awaitable[T]],
    *,
    limits: Limits | None = None,
    max_disk: int = 0,
) -> T:
    """Run a story on a fresh bench below ``base``."""

    async def whole(ctx: Context) -> T:
        async with bench(ctx, limits=limits, max_disk=max_disk) as made:
            return await asyncio.wait_for(story(made), 60)

    with helper_process(base) as ctx:
        return asyncio.run(whole(ctx))


async def pieces(data: bytes | Path, size: int = 50_000) -> AsyncIterator[bytes]:
    """A body that comes in pieces."""
    with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as file:
        while chunk := file.read(size):
            yield chunk
