"""The whole of images, volumes and file copy for tests: a real helper process (only with the verbs
of this area), the use cases on a real database, and archives made by hand.

The helper is forked into a mount namespace of its own, so nothing it could mount by mistake is
seen outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import io
import json
import os
import signal
import socket
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from wirt.aio import Locks, Nursery
from wirt.host.archive import Archive
from wirt.host.events import Bus
from wirt.host.images import Images
from wirt.host.import_image import ImportImage, ImportWish
from wirt.host.layers import Layers, Limits
from wirt.host.load import LoadImages
from wirt.host.pipe import Pipes
from wirt.host.roots import ImageRoots, Reach
from wirt.host.save import SaveImages
from wirt.host.volumes import Volumes
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
from wirt.privileged.verbs import volumes as volume_verbs
from wirt.state.db import Database
from wirt.state.events import EventTable
from wirt.state.images import ImageTable
from wirt.state.manifests import ManifestTable
from wirt.state.volumes import VolumeTable

T = TypeVar("T")

ROUTES = {
    route.verb: route
    for module in (change_verbs, image_verbs, tree_verbs, volume_verbs)
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
async def bench(ctx: Context, *, limits: Limits | None = None) -> AsyncIterator[Bench]:
    """Everything on top of a helper process."""
    layout = ctx.layout
    helper, db = Helper(layout.helper_socket), Database(layout.database)
    await db.open()
    nursery = Nursery("bench")
    bus = Bus(EventTable(db), nursery)
    await bus.open()
    store = BlobStore(layout.blobs, layout.uploads)
    store.open_store()
    table, pipes, manifests = ImageTable(db), Pipes(), ManifestTable(db)
    reach = Reach(manifests, [ImageRoots(table)])
    layers = Layers(helper, store, table, reach, limits=limits)
    images = Images(pipes, store, layers, table, bus)
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


def run(base: Path, story: Callable[[Bench], Awaitable[T]], *, limits: Limits | None = None) -> T:
    """Run a story on a fresh bench below ``base``."""

    async def whole(ctx: Context) -> T:
        async with bench(ctx, limits=limits) as made:
            return await asyncio.wait_for(story(made), 60)

    with helper_process(base) as ctx:
        return asyncio.run(whole(ctx))


async def pieces(data: bytes | Path, size: int = 50_000) -> AsyncIterator[bytes]:
    """A body that comes in pieces."""
    with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as file:
        while chunk := file.read(size):
            yield chunk


# --- archives by hand -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One member of a hand-made tar."""

    name: str
    type: bytes = tarfile.REGTYPE
    data: bytes = b""
    link: str = ""
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    mtime: float = 1_000_000
    device: tuple[int, int] = (0, 0)
    pax: Mapping[str, str] = field(default_factory=dict)


def file(name: str, data: bytes = b"", **more: Any) -> Entry:
    return Entry(name=name, data=data, **more)


def directory(name: str, **more: Any) -> Entry:
    return Entry(name=name, type=tarfile.DIRTYPE, **more)


def symlink(name: str, link: str, **more: Any) -> Entry:
    return Entry(name=name, type=tarfile.SYMTYPE, link=link, **more)


def hard_link(name: str, link: str, **more: Any) -> Entry:
    return Entry(name=name, type=tarfile.LNKTYPE, link=link, **more)


def tar(*entries: Entry) -> bytes:
    """A tar archive with exactly these members, in this order."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape"
    ) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.type = entry.type
            default = 0o755 if entry.type == tarfile.DIRTYPE else 0o644
            info.mode = default if entry.mode is None else entry.mode
            info.size = len(entry.data)
            info.linkname = entry.link
            info.uid, info.gid = entry.uid, entry.gid
            info.mtime = entry.mtime
            info.devmajor, info.devminor = entry.device
            info.pax_headers = dict(entry.pax)
            archive.addfile(info, io.BytesIO(entry.data))
    return out.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def config_json(layers: Iterable[bytes], **more: Any) -> bytes:
    """An image configuration for uncompressed layers."""
    node = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        **more,
    }
    return json.dumps(node).encode()


def docker_archive(
    *layers: bytes, tags: Iterable[str] = ("made:latest",), config: bytes | None = None
) -> bytes:
    """What an older ``docker save`` writes."""
    config = config_json(layers) if config is None else config
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    listing = [{"Config": "config.json", "RepoTags": list(tags), "Layers": names}]
    return tar(
        *(file(name, layer) for name, layer in zip(names, layers, strict=True)),
        file("config.json", config),
        file("manifest.json", json.dumps(listing).encode()),
    )


OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


def describe(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    """A descriptor."""
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


@dataclass(kw_only=True)
class OciLayout:
    """An OCI layout being forged: change any part before :meth:`tar`."""

    layers: list[bytes]
    config: bytes = b""
    manifest: dict[str, Any] = field(default_factory=dict)
    index: dict[str, Any] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = self.config or config_json(self.layers)
        packed = [gzip.compress(layer, mtime=0) for layer in self.layers]
        self.manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": describe(self.config, OCI_CONFIG),
            "layers": [describe(layer, OCI_LAYER + "+gzip") for layer in packed],
        }
        for blob in (*packed, self.config):
            self.blobs[digest(blob)] = blob

    def tar(self, *more: Entry) -> bytes:
        manifest = json.dumps(self.manifest).encode()
        index = {
            "schemaVersion": 2,
            "manifests": [
                describe(
                    manifest,
                    OCI_MANIFEST,
                    annotations={"org.opencontainers.image.ref.name": "made:latest"},
                )
            ],
            **self.index,
        }
        self.blobs.setdefault(digest(manifest), manifest)
        return tar(
            file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
            *(file("blobs/" + name.replace(":", "/"), data) for name, data in self.blobs.items()),
            file("index.json", json.dumps(index).encode()),
            *more,
        )
