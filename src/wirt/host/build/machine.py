"""Steps of builds in microVMs: what shall not run on this host's kernel.

The machine's main process only idles; the step is a further process of it, so that the machine is
still there to tell what was changed. Its disk is never read by this host: the agent packs what it
has changed, and the archive is taken for what it is, a guest's word.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from wirt.aio import beside, shielded
from wirt.engine.protocol import Exit
from wirt.errors import Unsupported
from wirt.host.build import plan
from wirt.host.build.ground import BuildGround
from wirt.host.build.layer import unpack
from wirt.host.build.session import Session
from wirt.host.insist import insist
from wirt.host.pipe import CHUNK, FdReader
from wirt.image.build.step import LayerMade, Out, RunStep, TmpfsMount
from wirt.image.build.upper import Bound, Made, as_layer
from wirt.image.store import Lease, Upload
from wirt.model.guest import Isolation
from wirt.model.image import Digest
from wirt.privileged.protocol import DropLayers, PackedChanges
from wirt.tar.deflate import Deflater


def check(step: RunStep) -> None:
    """Raise Unsupported for what only a container can give."""
    if step.isolation is not Isolation.MICROVM:
        raise Unsupported(
            f"RUN cannot be a {step.isolation.value}",
            hint="use --as microvm",
            code="build.isolation",
        )
    for mount in step.mounts:
        if not isinstance(mount, TmpfsMount):
            kind = type(mount).__name__.removesuffix("Mount").lower()
            raise Unsupported(
                f"RUN --mount=type={kind} is not possible in a microVM",
                hint="leave out --as microvm, or copy what the step needs",
                code="build.mount",
            )
    if step.network == "host":
        raise Unsupported("a machine has its own network", code="build.network")
    if step.keep_failed:
        raise Unsupported("--debug-shell is not possible with --as microvm", code="build.no-shell")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a step in a machine has left: a sealed upload of its layer."""

    upload: Upload
    diff_id: str
    made: Made


class Disks:
    """The read-only disks of steps' roots, as long as a step uses them."""

    def __init__(self, ground: BuildGround) -> None:
        self._ground = ground
        self._used: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def use(self, base: tuple[str, ...]) -> AsyncIterator[None]:
        """The disk is there for the block."""
        image = plan.image_of(base)
        self._used[image.id] += 1
        try:
            with self._ground.layers.hold((image.id,)):
                await self._ground.layers.disk(image)
                yield
        finally:
            self._used[image.id] -= 1
            if not self._used[image.id]:
                del self._used[image.id]
                verb = DropLayers(image_ids=(image.id,))
                await shielded(insist(self._ground.helper, verb))


async def run(
    ground: BuildGround, live: Session, step: RunStep, out: Out
) -> tuple[Exit, Changed | None]:
    """Run the step in a machine whose main process idles; and what it changed, if it ended well.

    The caller discards the upload.
    """
    await live.handle.start()
    ending = await live.execute(plan.inside(step), step.stdin, out)
    if ending.code != 0:
        return ending, None
    return ending, await _changes(ground, live, step)


async def _changes(ground: BuildGround, live: Session, step: RunStep) -> Changed:
    ours, theirs = socket.socketpair()
    upload = await ground.pipes.make(ground.store.new_upload, Upload.discard)
    try:
        work = ground.pipes.call(partial(_pack, ground, ours.detach(), step, upload))
        async with beside(work) as packing:
            with theirs:
                await live.tell_changes(theirs.fileno())
            diff_id, made = await packing
    except BaseException:
        await ground.pipes.call(upload.discard)
        raise
    return Changed(upload=upload, diff_id=diff_id, made=made)


def _pack(ground: BuildGround, source: int, step: RunStep, upload: Upload) -> tuple[str, Made]:
    """In a thread: the machine's stream becomes a layer, hashed and compressed."""
    limits = ground.layers.limits
    sink = _Sink(upload)
    try:
        made = as_layer(
            FdReader(source),
            sink,
            epoch=step.epoch,
            places=frozenset(os.fsencode(m.target.strip("/")) for m in step.mounts),
            bound=Bound(
                size=min(limits.layer, max(ground.store.room(), limits.least)),
                entries=limits.entries,
            ),
        )
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


async def keep(
    ground: BuildGround, base: tuple[str, ...], changed: Changed, lease: Lease
) -> LayerMade:
    """Store the layer and unpack it, jailed as every layer that comes from outside."""
    blob = await ground.pipes.call(lambda: ground.store.commit(changed.upload, lease))
    packed = PackedChanges(
        diff_id=changed.diff_id, size=changed.made.size, entries=changed.made.entries, exact=False
    )
    return LayerMade(
        chain_id=await unpack(ground, base, packed, blob),
        diff_id=Digest.parse(changed.diff_id),
        blob=blob,
        size=changed.made.size,
        blob_size=changed.upload.size,
        empty=changed.made.entries == 0,
    )
