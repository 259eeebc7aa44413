"""Making an image of what a guest has become."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from wirt.aio import shielded
from wirt.errors import Conflict, Exhausted, Unavailable
from wirt.guest.keeper import Request
from wirt.host.build.ground import BuildGround
from wirt.host.build.layer import pack, take
from wirt.host.changes import idmap_of
from wirt.host.events import Bus
from wirt.host.images import Images
from wirt.host.inside import Running, agent_of
from wirt.host.insist import FIRST_PAUSE, PATIENCE
from wirt.host.layers import Tell
from wirt.host.load import LoadImages
from wirt.host.process import merge_environment
from wirt.host.stop import Signals
from wirt.image import config as configuration
from wirt.image import manifest
from wirt.image.assemble import Stored, put_manifest
from wirt.image.changes import apply_changes
from wirt.image.config import Configuration, Step
from wirt.image.manifest import OCI_CONFIG, OCI_LAYER, Descriptor, Manifest
from wirt.image.store import Lease, Upload
from wirt.model.guest import Guest, GuestSpec, GuestState, Isolation
from wirt.model.image import Digest, Image, ImageConfig, Reference
from wirt.privileged.faults import fault
from wirt.privileged.protocol import PackChanges


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitWish:
    """What the image shall be called and say. ``changes``: Dockerfile lines. ``pause``: a running
    guest stands still meanwhile, so that no file is caught half written; of a machine, its disk
    does. ``epoch``: Unix seconds that no time in the layer exceeds, and the image's own time; the
    same changes give the same image then."""

    reference: str = ""
    author: str = ""
    message: str = ""
    changes: Sequence[str] = field(default=())
    pause: bool = True
    epoch: int | None = None


class Commit:
    """``wirt commit``."""

    def __init__(
        self,
        ground: BuildGround,
        images: Images,
        load: LoadImages,
        signals: Signals,
        bus: Bus,
        running: Running,
    ) -> None:
        self._ground = ground
        self._images = images
        self._load = load
        self._signals = signals
        self._bus = bus
        self._running = running

    async def run(self, guest: Guest, wish: CommitWish, tell: Tell) -> Image:
        """The new image. Raises Conflict for a machine that does not run, Invalid for what an image
        cannot hold."""
        names = (str(Reference.parse(wish.reference)),) if wish.reference else ()
        base = await self._images.get(guest.image_id)
        config = apply_changes(committed(guest.spec, base.config), wish.changes)
        ground = self._ground
        upload = await ground.pipes.make(ground.store.new_upload, Upload.discard)
        try:
            with self._images.hold(base):
                if guest.spec.isolation is not Isolation.CONTAINER:
                    diff_id = await self._take(guest, wish, upload)
                else:
                    async with self._still(guest, pause=wish.pause):
                        diff_id = await self._pack(guest, base, wish.epoch, upload)
                fault("commit.packed")
                await tell({"status": "changes packed"})
                async with ground.layers.intake() as intake:
                    made = _Made(base=base, config=config, diff_id=diff_id, guest=guest, wish=wish)
                    stored = await ground.pipes.call(
                        lambda: self._keep(made, upload, names, intake.lease)
                    )
                    fault("commit.stored")
                    image = await self._load.register(stored, intake, tell)
        finally:
            await ground.pipes.call(upload.discard)
        self._bus.publish(
            "guest", "commit", guest.id, name=guest.name, image=guest.spec.image, imageID=image.id
        )
        return image

    async def _take(self, guest: Guest, wish: CommitWish, upload: Upload) -> Digest:
        """From a machine, by its agent."""
        keeper = agent_of(self._running, guest, "commit")
        record = {"call": ["tar-changes"], "still": ["1" if wish.pause else "0"]}

        def ask(descriptor: int) -> Awaitable[object]:
            return keeper.request(Request.AGENT, record, descriptor=descriptor)

        diff_id, _ = await take(self._ground, ask, upload, epoch=wish.epoch)
        return Digest.parse(diff_id)

    async def _pack(self, guest: Guest, base: Image, epoch: int | None, upload: Upload) -> Digest:
        ground = self._ground
        limits = ground.layers.limits
        verb = PackChanges(
            id=guest.id,
            layers=base.chain_ids,
            idmap=idmap_of(guest),
            epoch=epoch,
            max_bytes=min(limits.layer, max(ground.store.room(), limits.least)),
            max_entries=limits.entries,
        )
        packed = await pack(ground.helper, ground.pipes, verb, upload)
        return Digest.parse(packed.diff_id)

    @contextlib.asynccontextmanager
    async def _still(self, guest: Guest, *, pause: bool) -> AsyncIterator[None]:
        """Pause a guest that runs. It is shown so: a daemon that dies leaves no riddle."""
        if not pause or guest.status.state is not GuestState.RUNNING:
            yield
            return
        await self._signals.pause(guest, True)
        try:
            yield
        finally:
            await shielded(self._let_go(guest), deadline=2 * PATIENCE)

    async def _let_go(self, guest: Guest) -> None:
        """Unpause, though the helper may be gone for a while."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            try:
                await self._signals.pause(guest, False)
            except Conflict:
                return  # somebody has unpaused or ended it meanwhile
            except Unavailable:
                if loop.time() > deadline:
                    raise
                await asyncio.sleep(FIRST_PAUSE)
            else:
                return

    def _keep(self, made: _Made, upload: Upload, names: tuple[str, ...], lease: Lease) -> Stored:
        store = self._ground.store
        old = store.document(Digest.parse(made.base.manifest))
        before = manifest.parse_manifest(old, media_type=manifest.type_of(old))
        if len(before.layers) >= manifest.MAX_LAYERS:
            raise Exhausted(
                f"the image would have more than {manifest.MAX_LAYERS} layers",
                hint="export the container and import it again: that makes one layer",
                code="image.too-many-layers",
            )
        raw = store.document(Digest.parse(made.base.id))
        parsed = made.configuration(configuration.parse(raw))
        data = made.encode(parsed, raw)
        layer = Descriptor(media_type=f"{OCI_LAYER}+gzip", digest=upload.digest, size=upload.size)
        store.commit(upload, lease)
        for part in before.layers:
            lease.hold(part.digest)
        config = store.put(data, lease)
        content = Manifest(
            config=Descriptor(media_type=OCI_CONFIG, digest=config, size=len(data)),
            layers=(*map(manifest.as_oci_layer, before.layers), layer),
        )
        document = put_manifest(content, store, lease)
        return Stored(
            id=config,
            manifest=document.digest,
            configuration=parsed,
            layers=tuple(part.digest for part in content.layers),
            target=document.digest,
            documents=(document,),
            references=names,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """The parts of the new configuration."""

    base: Image
    config: ImageConfig
    diff_id: Digest
    guest: Guest
    wish: CommitWish

    def configuration(self, before: Configuration) -> Configuration:
        """The base's with the new layer on top."""
        epoch = self.wish.epoch
        now = time.time_ns() if epoch is None else epoch * 10**9
        step = Step(
            created_at=now,
            created_by=" ".join(self.guest.command)[:1000],
            comment=self.wish.message,
        )
        return replace(
            before,
            created_at=now,
            diff_ids=(*before.diff_ids, self.diff_id),
            history=(*before.history, step),
            config=self.config,
        )

    def encode(self, parsed: Configuration, raw: bytes) -> bytes:
        """The blob; what the base says and is not known here (ONBUILD, SHELL) stays."""
        old: dict[str, Any] = msgspec.json.decode(raw)
        new: dict[str, Any] = msgspec.json.decode(configuration.encode(parsed))
        known = configuration.RUN_KEYS
        extra = {k: v for k, v in (old.get("config") or {}).items() if k not in known}
        new["config"] = {**new["config"], **extra}
        if self.wish.author:
            new["author"] = self.wish.author
            new["history"][-1]["author"] = self.wish.author
        return manifest.encode_json(new)


def committed(spec: GuestSpec, image: ImageConfig) -> ImageConfig:
    """How the new image is run unless told otherwise: as this guest was. Pure."""
    cmd = image.cmd if spec.entrypoint is None else ()
    return replace(
        image,
        user=spec.user or image.user,
        env=merge_environment(image.env, tuple(e for e in spec.env if "=" in e)),
        entrypoint=image.entrypoint if spec.entrypoint is None else spec.entrypoint,
        cmd=cmd if spec.command is None else spec.command,
        working_dir=spec.working_dir or image.working_dir,
        labels={**image.labels, **spec.labels},
        stop_signal=spec.stop_signal or image.stop_signal,
    )
