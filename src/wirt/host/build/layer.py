"""What a step has changed, as a blob in the store and as an unpacked layer."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial

from wirt.aio import beside
from wirt.host.build.ground import BuildGround
from wirt.host.lineage import chain_of
from wirt.host.pipe import CHUNK, FdReader, Pipes
from wirt.image.build.step import LayerMade, RunStep
from wirt.image.build.upper import Bound, Made, as_layer
from wirt.image.store import Lease, Upload
from wirt.model.image import Digest
from wirt.privileged.client import Helper
from wirt.privileged.protocol import PackChanges, PackedChanges
from wirt.tar.deflate import Deflater


async def make_layer(
    ground: BuildGround, guest_id: str, base: tuple[str, ...], step: RunStep, lease: Lease
) -> LayerMade:
    """Pack the changes of an ended guest; its writable layer becomes the unpacked one.

    The blob is held by ``lease``. Raises Invalid for changes that no image can hold.
    """
    limits = ground.layers.limits
    verb = PackChanges(
        id=guest_id,
        layers=base,
        epoch=step.epoch,
        max_bytes=min(limits.layer, max(ground.store.room(), limits.least)),
        max_entries=limits.entries,
        adopt=True,
    )
    upload = await ground.pipes.make(ground.store.new_upload, Upload.discard)
    try:
        packed = await pack(ground.helper, ground.pipes, verb, upload)
        blob = await ground.pipes.call(lambda: ground.store.commit(upload, lease))
        size = upload.size
    finally:
        await ground.pipes.call(upload.discard)
    chain_id = packed.chain_id
    if chain_id:
        await ground.layers.adopted(chain_id, packed.disk)
    else:
        chain_id = await unpack(ground, base, packed, blob)
    return LayerMade(
        chain_id=chain_id,
        diff_id=Digest.parse(packed.diff_id),
        blob=blob,
        size=packed.size,
        blob_size=size,
        empty=packed.entries == 0,
    )


async def pack(helper: Helper, pipes: Pipes, verb: PackChanges, upload: Upload) -> PackedChanges:
    """Have changes packed and compress them into ``upload``, which is sealed then."""
    reader, writer = os.pipe()
    async with beside(pipes.call(partial(_compress, reader, upload))) as compressing:
        try:
            packed, _ = await helper.call(verb, [writer])
        finally:
            os.close(writer)
        await compressing
    return packed


async def take(
    ground: BuildGround,
    ask: Callable[[int], Awaitable[object]],
    upload: Upload,
    *,
    epoch: int | None,
) -> tuple[str, Made]:
    """Have a machine's agent pack its changes, and compress them into ``upload``, which is sealed
    then; their digest and measure. ``ask``: with the descriptor that the agent shall write to.

    Raises Invalid for changes that no image can hold, and for nonsense.
    """
    ours, theirs = socket.socketpair()
    work = ground.pipes.call(partial(_rewrite, ground, ours.detach(), upload, epoch))
    async with beside(work) as packing:
        with theirs:
            await ask(theirs.fileno())
        return await packing


def _rewrite(
    ground: BuildGround, source: int, upload: Upload, epoch: int | None
) -> tuple[str, Made]:
    """In a thread: the machine's stream becomes a layer, hashed and compressed."""
    limits = ground.layers.limits
    sink = _Sink(upload)
    try:
        bound = Bound(
            size=min(limits.layer, max(ground.store.room(), limits.least)), entries=limits.entries
        )
        made = as_layer(FdReader(source), sink, epoch=epoch, bound=bound)
        sink.finish()
        return sink.digest, made
    finally:
        with contextlib.suppress(OSError):
            while os.read(source, CHUNK):  # so that the agent can say how it ended
                pass
        os.close(source)


class _Sink:
    """Hashes and compresses what is written."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._hash = hashlib.sha256()
        self._deflater = Deflater()

    def write(self, data: bytes, /) -> None:
        self._hash.update(data)
        if ready := self._deflater.feed(data):
            self._upload.write(ready)

    def finish(self) -> None:
        """Write the rest."""
        self._upload.write(self._deflater.finish())
        self._upload.seal()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


async def unpack(
    ground: BuildGround, base: tuple[str, ...], packed: PackedChanges, blob: Digest
) -> str:
    """Unpack a layer that could not be taken over as it was; its chain id."""
    chain_id = chain_of(base, packed.diff_id)
    with ground.layers.hold((chain_id,)):
        await ground.layers.apply(chain_id, base, expected=packed.diff_id, blob=blob)
    return chain_id


def _compress(reader: int, upload: Upload) -> None:
    try:
        source, deflater = FdReader(reader), Deflater()
        while data := source.read(CHUNK):
            if ready := deflater.feed(data):
                upload.write(ready)
        upload.write(deflater.finish())
        upload.seal()
    finally:
        os.close(reader)
