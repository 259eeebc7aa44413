"""Images by name: finding, listing, looking at, naming and removing them, with docker's rules."""

from __future__ import annotations

import contextlib
import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from wirt.errors import Conflict, Invalid, NotFound
from wirt.host.events import Bus
from wirt.host.layers import Layers
from wirt.host.pipe import Pipes
from wirt.host.unpack import Unpack
from wirt.image import config as configuration
from wirt.image.document import Object, parse
from wirt.image.store import BlobStore
from wirt.model.guest import Guest
from wirt.model.image import Digest, Image, Reference
from wirt.model.names import short
from wirt.privileged.faults import fault
from wirt.state.images import ImageTable, LayerRow, Orphans, User

_HEX = re.compile(r"[0-9a-f]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDetail:
    """An image with what only its blobs know. ``raw``: the configuration's JSON as stored."""

    image: Image
    layers: tuple[LayerRow, ...]
    raw: Object


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """One step of an image's making, newest first. ``size``: bytes of files that it brought."""

    id: str
    created_at: int
    created_by: str
    comment: str
    size: int
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """One thing that a removal did; exactly one is set."""

    untagged: str = ""
    deleted: str = ""


class Images:
    """The images of this host."""

    def __init__(
        self,
        pipes: Pipes,
        store: BlobStore,
        layers: Layers,
        unpack: Unpack,
        table: ImageTable,
        bus: Bus,
    ) -> None:
        self._unpack = unpack
        self._pipes = pipes
        self._store = store
        self._layers = layers
        self._table = table
        self._bus = bus

    # --- finding ----------------------------------------------------------------------------

    async def find(self, text: str) -> Image:
        """The image that a user means: a name, a digest, an id or a beginning of one.

        Raises NotFound (``No such image: name:tag``), Invalid for an ambiguous id.
        """
        image_id = await self._by_name(text) or await self._by_id(text)
        image = await self._table.get(image_id) if image_id else None
        if image is None:
            raise _no_such_image(text)
        return image

    async def get(self, image_id: str) -> Image:
        """An image by its full id, also one removed by force while guests use it."""
        image = await self._table.get(image_id)
        if image is None:
            raise _no_such_image(image_id)
        return image

    async def _by_name(self, text: str) -> str | None:
        try:
            reference = Reference.parse(text)
        except Invalid:
            return None
        name = f"{reference.domain}/{reference.path}"
        if reference.digest:
            return await self._table.with_manifest(reference.digest, name)
        return await self._table.named(str(reference))

    async def _by_id(self, text: str) -> str | None:
        digits = text.removeprefix("sha256:")
        if not _HEX.fullmatch(digits):
            return None
        found = await self._table.starting_with(f"sha256:{digits}")
        if len(found) > 1:
            raise Invalid(
                f"several images have an id that starts with {digits}",
                hint="write more of the id",
                code="image.ambiguous",
            )
        return found[0] if found else None

    async def all(self, filters: Mapping[str, Sequence[str]] | None = None) -> list[Image]:
        """All images, newest first. ``filters``: reference (pattern), dangling (true or false),
        label (``key`` or ``key=value``), before and since (an image). Raises Invalid."""
        found = await self._table.all()
        for key, values in (filters or {}).items():
            for value in values:
                found = await self._filter(found, key, value)
        return found

    async def _filter(self, images: list[Image], key: str, value: str) -> list[Image]:
        if key == "reference":
            return [i for i in images if any(_matches(r, value) for r in i.references)]
        if key == "dangling":
            if value not in {"true", "false", "1", "0"}:
                raise Invalid(f"the filter dangling={value!r} is neither true nor false")
            return [i for i in images if bool(i.references) != (value in {"true", "1"})]
        if key == "label":
            name, equals, wanted = value.partition("=")
            return [
                i
                for i in images
                if name in i.config.labels and (not equals or i.config.labels[name] == wanted)
            ]
        if key in {"before", "since"}:
            pivot = (await self.find(value)).created_at
            older = key == "before"
            return [i for i in images if i.created_at != pivot and (i.created_at < pivot) == older]
        raise Invalid(
            f"unknown filter {key[:40]!r} for images",
            hint="filters are: reference, dangling, label, before, since",
        )

    # --- looking ----------------------------------------------------------------------------

    async def inspect(self, text: str) -> ImageDetail:
        """Everything about an image."""
        image = await self.find(text)
        data = await self._pipes.call(lambda: self._store.document(Digest.parse(image.id)))
        return ImageDetail(
            image=image,
            layers=tuple(await self._table.layers(image.id)),
            raw=parse(data, "image configuration"),
        )

    async def history(self, text: str) -> list[HistoryLine]:
        """How an image was made, newest step first."""
        image = await self.find(text)
        data = await self._pipes.call(lambda: self._store.document(Digest.parse(image.id)))
        sizes = [row.size for row in await self._table.layers(image.id)]
        lines: list[HistoryLine] = []
        for step in configuration.parse(data).history:
            size = sizes.pop(0) if sizes and not step.empty else 0
            line = HistoryLine(
                id="",
                created_at=step.created_at,
                created_by=step.created_by,
                comment=step.comment,
                size=size,
            )
            lines.append(line)
        lines += [
            HistoryLine(id="", created_at=0, created_by="", comment="", size=size) for size in sizes
        ]
        lines.reverse()
        names = tuple(Reference.parse(r).familiar for r in image.references)
        if lines:
            newest = lines[0]
            lines[0] = HistoryLine(
                id=image.id,
                created_at=newest.created_at,
                created_by=newest.created_by,
                comment=newest.comment,
                size=newest.size,
                references=names,
            )
        return lines

    @contextlib.contextmanager
    def hold(self, image: Image) -> Iterator[None]:
        """Keep an image with its layers while a guest is being made from it."""
        with self._layers.hold((image.id, *image.chain_ids)):
            yield

    async def disk(self, image: Image) -> None:
        """Make sure that the image's disk for machines is there."""
        await self._unpack.disk(image)

    def lost(self, error: NotFound, image: Image) -> bool:
        """Whether a start failed since a layer was removed by hand; :meth:`ready` helps then."""
        return self._layers.lost(error, image.chain_ids)

    def ready(
        self, image: Image, *, layers: bool = True, disk: bool = False
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """Keep an image, with its layers unpacked or its disk made, while it is used."""
        return self._unpack.ready(image, layers=layers, disk=disk)

    # --- changing ---------------------------------------------------------------------------

    async def tag(self, text: str, target: str) -> None:
        """Give an image a further name. Raises Invalid for a name with a digest."""
        reference = Reference.parse(target)
        if reference.digest:
            raise Invalid(
                f"a name that users give has no digest: {target[:200]!r}",
                hint="write NAME or NAME:TAG",
            )
        image = await self.find(text)
        meant = image.targets.get(await self._named_so(image, text), image.manifest)
        before = await self._table.tag(str(reference), image.id, meant)
        if before is not None and before.target != meant:
            await self._layers.drop(Orphans(documents=(before.target,)))
        self._bus.publish("image", "tag", image.id, name=reference.familiar)

    async def remove(self, text: str, *, force: bool = False) -> list[Removed]:
        """Take a name away, and delete the image when it was the last one.

        Raises Conflict when a guest uses the image (``force``: it goes with its last guest), or
        when an id has several names (``force``: all of them go).
        """
        image = await self.find(text)
        users = await self._table.users(image.id)
        name = await self._named_so(image, text)
        if name and len(image.references) > 1:
            await self._layers.drop(await self._untag(name, image))
            return [Removed(untagged=Reference.parse(name).familiar)]
        if not name:
            _check_id_removal(image, users, force=force)
        if image.id in self._layers.held:
            raise Conflict(
                f"unable to remove {text}: it is being used right now",
                hint="try again in a moment",
                code="image.in-use",
            )
        if users and not force:
            raise _in_use(text, image, users[0])
        done = []
        documents: list[str] = []
        for reference in image.references:
            documents += (await self._untag(reference, image)).documents
            done.append(Removed(untagged=Reference.parse(reference).familiar))
        fault("image.untagged")
        orphans = await self._table.delete(image.id)
        fault("image.erased")
        if orphans.images:
            done.append(Removed(deleted=image.id))
            self._bus.publish("image", "delete", image.id)
        await self._layers.drop(replace(orphans, documents=(*orphans.documents, *documents)))
        return done

    async def _named_so(self, image: Image, text: str) -> str:
        """The name by which the user meant the image, "" for an id."""
        try:
            reference = Reference.parse(text)
        except Invalid:
            return ""
        if str(reference) in image.references and await self._by_name(text) == image.id:
            return str(reference)
        return ""

    async def _untag(self, reference: str, image: Image) -> Orphans:
        orphans = await self._table.untag(reference)
        self._bus.publish("image", "untag", image.id, name=Reference.parse(reference).familiar)
        return orphans

    async def release(self, guest: Guest, *, volumes: bool) -> None:
        """Let a guest's image go: one that was removed by force goes with its last guest. The
        guest's row may still be there; ``volumes`` says nothing about images."""
        del volumes
        await self._layers.drop(await self._table.collect(self._layers.held, but=guest.id))

    # --- start-up ---------------------------------------------------------------------------

    async def known(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Chain ids and image ids that a sweep must leave alone."""
        found = await self._layers.wanted()
        return tuple(sorted(found.chain_ids)), tuple(sorted(found.images))

    async def sweep_blobs(self) -> int:
        """Delete blobs that nobody wants, as a crash leaves them; how many."""
        return await self._layers.sweep_blobs()


def _matches(reference: str, pattern: str) -> bool:
    """Docker's ``reference=`` filter: a shell pattern on the short name, with or without tag."""
    parsed = Reference.parse(reference)
    names = (parsed.familiar, parsed.familiar_name, reference)
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _no_such_image(text: str) -> NotFound:
    try:
        shown = Reference.parse(text).familiar
    except Invalid:
        shown = text[:200]
    if text.startswith("sha256:") or _HEX.fullmatch(text):
        shown = text[:200]
    return NotFound(
        f"No such image: {shown}",
        hint="'wirt images' lists what is there; 'wirt load' or 'wirt import' adds one",
        code="image.not-found",
    )


def _check_id_removal(image: Image, users: list[User], *, force: bool) -> None:
    if len(image.references) > 1 and not force:
        raise Conflict(
            f"unable to delete {short(image.id.removeprefix('sha256:'))}: it has several names",
            hint="remove it by name, or use --force to remove all of them",
            code="image.several-names",
        )
    running = [user for user in users if user.running]
    if running:
        raise Conflict(
            f"unable to delete {short(image.id.removeprefix('sha256:'))}: the running guest "
            f"{running[0].name} uses it",
            hint=f"stop it first: wirt stop {running[0].name}",
            code="image.in-use",
        )


def _in_use(text: str, image: Image, user: User) -> Conflict:
    return Conflict(
        f"unable to remove {text}: the guest {user.name} ({short(user.id)}) was made from it",
        hint=f"remove the guest first, or use --force to remove the name of "
        f"{short(image.id.removeprefix('sha256:'))} only",
        code="image.in-use",
    )
