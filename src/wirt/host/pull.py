"""``wirt pull``: one pipeline from the registry to layers that guests run on.

Each layer is hashed, filed and unpacked while it comes; several come at once, and they are unpacked
base first. Only when all is right one transaction makes the image and its name. A cut at any
point leaves half-written files and nameless blobs, which the next start sweeps.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from wirt.aio import Team, beside, shielded
from wirt.errors import Invalid, NotFound, primary
from wirt.host.bars import Bar
from wirt.host.download import Downloads
from wirt.host.events import Bus
from wirt.host.growing import Growing
from wirt.host.layers import Intake, Layers, Tell
from wirt.host.load import LoadImages
from wirt.host.pipe import new_pipe
from wirt.host.registries import Registries
from wirt.host.resolve import Resolve, Resolved
from wirt.image import config as configuration
from wirt.image import platform
from wirt.image.assemble import Stored
from wirt.image.config import Configuration
from wirt.image.manifest import Descriptor
from wirt.image.platform import Platform
from wirt.image.remote.auth import ANONYMOUS, Credentials, Late
from wirt.image.remote.source import Source
from wirt.model.image import Image, Reference
from wirt.privileged.faults import fault
from wirt.state.images import ImageTable

LONGEST = 24 * 3600.0
"""Seconds that one layer may come for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullWish:
    """What to pull. ``platform``: ``os/architecture``, empty for this host's. ``all_platforms``:
    keep the whole index. ``all_tags``: every tag of the repository. ``referrers``: also what
    speaks about the image (signatures). ``credentials``: for this one registry."""

    reference: str
    platform: str = ""
    all_platforms: bool = False
    all_tags: bool = False
    referrers: bool = False
    credentials: Credentials = field(default=ANONYMOUS, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """One layer on its way; ``growing`` shows what has come of it."""

    blob: Descriptor
    bar: Bar
    growing: Growing


class Pull:
    """The ``pull`` verb."""

    def __init__(
        self,
        *,
        registries: Registries,
        downloads: Downloads,
        layers: Layers,
        load: LoadImages,
        table: ImageTable,
        bus: Bus,
    ) -> None:
        self._registries = registries
        self._downloads = downloads
        self._layers = layers
        self._load = load
        self._table = table
        self._bus = bus

    async def pull(
        self, wish: PullWish, tell: Tell, *, late: Late | None = None
    ) -> tuple[Image, ...]:
        """Have the image here, with its name. Raises WirtError; then nothing has changed.

        ``late``: gives the credentials when the registry wants some, instead of the wish.
        With ``all_tags`` the images before the one that failed are kept.
        """
        asked = Reference.parse(wish.reference, default_tag="" if wish.all_tags else "latest")
        if wish.platform and wish.all_platforms:
            raise Invalid("one platform and all platforms exclude each other")
        source = self._registries.source(asked, late or wish.credentials)
        if not wish.all_tags:
            return (await self._one(asked, wish, source, tell),)
        if asked.tag or asked.digest:
            raise Invalid(
                f"all tags of {wish.reference[:200]!r}: it names one already",
                hint="leave the tag out",
            )
        images = []
        for tag in await source.tags():
            one = Reference.parse(f"{asked.domain}/{asked.path}:{tag}")
            images.append(await self._one(one, wish, source, tell))
        return tuple(images)

    async def _one(self, asked: Reference, wish: PullWish, source: Source, tell: Tell) -> Image:
        """``name:tag@digest`` is the digest; the tag is only said, as with docker."""
        name = Reference(asked.domain, asked.path, "" if asked.digest else asked.tag, asked.digest)
        await tell({"pulling": name.familiar_name, "reference": asked.digest or asked.tag})
        known = await self._known(name)
        if known is not None and not (wish.platform or wish.all_platforms or wish.referrers):
            there = name.digest or str(await source.head(name.tag) or "")
            if there == known.targets[str(name)]:
                await _finish(name, known, tell, fresh=False)
                return known
        wanted = platform.parse(wish.platform) if wish.platform else None
        resolve = Resolve(source, wanted=wanted, whole=wish.all_platforms, referrers=wish.referrers)
        resolved = await resolve.run(name.digest or name.tag)
        async with self._layers.intake() as intake:
            image = await self._take(name, resolved, source, intake, tell, wanted=wanted)
        same = known is not None and known.id == image.id
        self._bus.publish("image", "pull", image.id, name=name.familiar)
        await _finish(name, image, tell, fresh=not same)
        return image

    async def _known(self, name: Reference) -> Image | None:
        image_id = await self._table.named(str(name))
        return await self._table.get(image_id) if image_id else None

    async def _take(
        self,
        name: Reference,
        resolved: Resolved,
        source: Source,
        intake: Intake,
        tell: Tell,
        *,
        wanted: Platform | None,
    ) -> Image:
        downloads, lease = self._downloads, intake.lease
        for fetched in resolved.fetched:
            await downloads.keep(fetched, lease)
        manifest = resolved.manifest
        data = await downloads.small(source, manifest.config, lease, what="image configuration")
        config = configuration.parse(data)
        _check_count(config, manifest.layers)
        _check_platform(config, wanted)
        chain_ids = configuration.chain_ids(config.diff_ids)
        intake.chain_ids.extend(chain_ids)
        with self._layers.hold(chain_ids):
            try:
                await self._transfer(resolved, config, source, intake, tell)
            except BaseExceptionGroup as group:
                raise primary(group) from group
            fault("pull.transferred")
            stored = Stored(
                id=manifest.config.digest,
                manifest=resolved.chosen.digest,
                configuration=config,
                layers=tuple(layer.digest for layer in manifest.layers),
                target=resolved.target.digest,
                documents=resolved.documents,
                references=(str(name),),
            )
            return await self._load.register(stored, intake, _only_warnings(tell))

    async def _transfer(
        self,
        resolved: Resolved,
        config: Configuration,
        source: Source,
        intake: Intake,
        tell: Tell,
    ) -> None:
        """Everything that the documents name, at once; the chosen image's layers unpacked."""
        layers = {
            layer.digest: _Layer(blob=layer, bar=Bar(layer, tell), growing=Growing())
            for layer in resolved.manifest.layers
        }
        try:
            async with Team() as team:
                for layer in layers.values():
                    team.start(self._download(source, layer, intake))
                for blob in _others(resolved):
                    bar = Bar(blob, tell)
                    team.start(self._downloads.blob(source, blob, intake.lease, bar))
                ordered = [layers[layer.digest] for layer in resolved.manifest.layers]
                team.start(self._unpack(ordered, config))
        finally:
            for layer in layers.values():
                layer.growing.close()

    async def _download(self, source: Source, layer: _Layer, intake: Intake) -> None:
        try:
            await self._downloads.blob(source, layer.blob, intake.lease, layer.bar, layer.growing)
        finally:
            layer.growing.end()

    async def _unpack(self, layers: list[_Layer], config: Configuration) -> None:
        """Base first, each as soon as its bytes come."""
        chain_ids = configuration.chain_ids(config.diff_ids)
        for n, (layer, diff_id) in enumerate(zip(layers, config.diff_ids, strict=True)):
            place = chain_ids[n], chain_ids[:n]
            if await layer.growing.begun():
                await layer.bar.state("unpacking")
                await self._stream(layer, *place, expected=str(diff_id))
                await layer.bar.state("done")
            else:
                blob = layer.blob.digest
                await self._layers.apply(*place, expected=str(diff_id), blob=blob)

    async def _stream(
        self, layer: _Layer, chain_id: str, parents: tuple[str, ...], *, expected: str
    ) -> None:
        reader, writer = new_pipe()
        try:
            async with beside(_pour(layer.growing, writer)):
                unpacking = self._layers.apply_stream(
                    chain_id,
                    parents,
                    expected=expected,
                    blob_size=layer.blob.size,
                    source=reader,
                )
                # the helper's work must have ended before what is left of it is dropped; it ends
                # soon, since the download ends with us
                await shielded(unpacking, deadline=LONGEST)
        finally:
            os.close(reader)


async def _pour(growing: Growing, writer: int) -> None:
    try:
        await growing.pour(writer)
    finally:
        os.close(writer)


def _others(resolved: Resolved) -> list[Descriptor]:
    """What the documents name besides each other and the chosen image."""
    own = {part.digest for _, part in resolved.chosen.parts}
    own |= {document.digest for document in resolved.documents}
    found = {
        part.digest: part
        for document in resolved.documents
        if document.digest != resolved.chosen.digest
        for role, part in document.parts
        if part.digest not in own and role != "manifest"
    }
    return list(found.values())


def _check_count(config: Configuration, layers: tuple[Descriptor, ...]) -> None:
    if len(config.diff_ids) != len(layers):
        raise Invalid(
            f"the image has {len(layers)} layers, but its configuration names "
            f"{len(config.diff_ids)}",
            hint="it is damaged or forged: tell who made it",
            code="image.layer-count",
        )


def _check_platform(config: Configuration, wanted: Platform | None) -> None:
    """A name that means one image only says in its configuration for which platform it is."""
    if wanted is not None and not platform.runs(config.platform, wanted):
        raise NotFound(
            f"the image is for {config.platform}, not for {wanted}",
            hint="leave --platform out to get it all the same",
            code="image.platform",
        )


def _only_warnings(tell: Tell) -> Tell:
    async def filtered(line: Mapping[str, object]) -> None:
        if not str(line.get("status", "")).startswith("layer "):
            await tell(line)

    return filtered


async def _finish(name: Reference, image: Image, tell: Tell, *, fresh: bool) -> None:
    await tell(
        {
            "image": name.familiar,
            "name": str(name),
            "id": image.id,
            "digest": image.targets.get(str(name), image.manifest),
            "fresh": fresh,
        }
    )
