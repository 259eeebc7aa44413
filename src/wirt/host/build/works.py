"""What the steps of all builds need: layers made, found again, unpacked when somebody looks."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from wirt.host.build.fetch import Fetch
from wirt.host.build.holding import Holding
from wirt.host.build.remote_cache import RemoteCache
from wirt.host.build.repositories import Access, Repositories
from wirt.host.build.stock import GZIP
from wirt.host.build.visitors import Agents
from wirt.host.build.wallets import Wallets
from wirt.host.build.wish import BuildWish
from wirt.host.layers import Layers
from wirt.host.pipe import Pipes
from wirt.image.build.cache import Inputs
from wirt.image.build.copying import Placed
from wirt.image.build.outcome import EARLIEST, Layer, Root
from wirt.image.build.pack import Times, layer_tar
from wirt.image.build.step import Runner
from wirt.image.build.tree import Tree
from wirt.image.manifest import Descriptor
from wirt.image.store import BlobStore, Lease
from wirt.model.image import Digest
from wirt.privileged.client import Helper
from wirt.privileged.faults import fault
from wirt.state.build_cache import BuildCacheTable, CachedStep
from wirt.tar.deflate import Deflater
from wirt.tar.member import Type

AGENT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Works:
    """The parts of the host that build steps are made with."""

    pipes: Pipes
    store: BlobStore
    layers: Layers
    helper: Helper
    cache: BuildCacheTable
    runner: Runner
    fetch: Fetch
    repositories: Repositories
    agents: Agents
    wallets: Wallets
    remote: RemoteCache

    def access(self, wish: BuildWish) -> Access:
        """With what a build gets at repositories by ssh: the agent that is called ``default``."""
        given = AGENT in wish.ssh
        connect = partial(self.agents.connect, wish.ssh_token, AGENT) if given else None
        return Access(connect=connect, known_hosts=wish.known_hosts)

    # --- the cache --------------------------------------------------------------------------

    async def find(self, inputs: Inputs, root: Root, lease: Lease) -> Found | None:
        """What these inputs gave before, if it is still there; its blob is held then."""
        row = await self.cache.get(inputs.key)
        if row is None:
            return None
        if not row.blob:
            return Found(key=row.key, layer=None)
        blob = Digest.parse(row.blob)
        lease.hold(blob)
        if not self.store.path(blob).exists():
            await self.cache.forget([row.key])
            return None
        diff_id = Digest.parse(row.diff_id)
        layer = Layer(
            chain_id=root.chain_with(diff_id),
            diff_id=diff_id,
            descriptor=Descriptor(media_type=GZIP, digest=blob, size=row.blob_size),
            size=row.size,
        )
        return Found(key=row.key, layer=layer)

    async def remember(self, inputs: Inputs, layer: Layer | None) -> None:
        """Note what these inputs gave; its blob is held."""
        fault("build.made")
        await self.cache.put(
            CachedStep(
                key=inputs.key,
                site=inputs.site,
                inputs=inputs.encode(),
                chain_id=layer.chain_id if layer else "",
                diff_id=str(layer.diff_id) if layer else "",
                blob=str(layer.descriptor.digest) if layer else "",
                size=layer.size if layer else 0,
                blob_size=layer.descriptor.size if layer else 0,
            ),
            now=time.time_ns(),
        )

    # --- layers -----------------------------------------------------------------------------

    async def ensure(self, root: Root) -> None:
        """Have all layers of a root unpacked, which the caller holds."""
        await self.layers.uses.built(root.chain_ids)
        parents: tuple[str, ...] = ()
        for layer in root.layers:
            if layer.chain_id not in self.layers.present:
                await self._unpack(layer, parents)
            parents = (*parents, layer.chain_id)

    async def _unpack(self, layer: Layer, parents: tuple[str, ...]) -> int:
        return await self.layers.apply(
            layer.chain_id,
            parents,
            expected=str(layer.diff_id),
            blob=layer.descriptor.digest,
        )

    async def pack(self, members: Sequence[Placed], root: Root, holding: Holding) -> Layer:
        """A layer of these members on a root: its blob stored, its files unpacked."""
        packed = await self.pipes.call(lambda: self._pack(members, root.epoch, holding.lease))
        layer = Layer(
            chain_id=root.chain_with(packed.diff_id),
            diff_id=packed.diff_id,
            descriptor=Descriptor(media_type=GZIP, digest=packed.blob, size=packed.blob_size),
            size=packed.size,
        )
        holding.make(layer.chain_id)
        fault("build.packed")
        await self._unpack(layer, root.chain_ids)
        return layer

    def _pack(self, members: Sequence[Placed], epoch: int, lease: Lease) -> Packed:
        hasher, deflater = hashlib.sha256(), Deflater()
        with self.store.upload() as upload:
            for chunk in layer_tar(members, Times(epoch=epoch)):
                hasher.update(chunk)
                if data := deflater.feed(chunk):
                    upload.write(data)
            upload.write(deflater.finish())
            blob = self.store.commit(upload, lease)
            size = upload.size
        return Packed(
            diff_id=Digest("sha256", hasher.hexdigest()),
            blob=blob,
            blob_size=size,
            size=sum(m.entry.size for m in members if m.entry.type is Type.FILE),
        )

    async def context_layer(self, tree: Tree, holding: Holding) -> str:
        """A whole tree as a layer of its own, for mounts; its chain id."""
        members = [Placed(path=entry.path, entry=entry, tree=tree) for entry in tree.walk("")]
        layer = await self.pack(members, Root(epoch=EARLIEST), holding)
        return layer.chain_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A hit. ``layer``: None when the step changes nothing."""

    key: str
    layer: Layer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A layer's blob."""

    diff_id: Digest
    blob: Digest
    blob_size: int
    size: int
