"""Removing what nobody needs when a user says so: images, and what builds keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wirt.errors import Conflict, Invalid, NotFound
from wirt.host.collect import Cache, Collect
from wirt.host.images import Images, Removed
from wirt.model.image import Image
from wirt.state.images import ImageTable

FILTERS = ("dangling", "label", "label!", "until")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed, in order. ``freed``: bytes on the disk."""

    removed: tuple[Removed, ...]
    freed: int


class Prune:
    """``wirt image prune``, ``wirt builder prune``, ``wirt store trim``."""

    def __init__(
        self,
        images: Images,
        table: ImageTable,
        collect: Collect,
        *,
        builds: Sequence[Cache],
        unpacked: Sequence[Cache],
    ) -> None:
        self._images = images
        self._table = table
        self._collect = collect
        self._builds = builds
        self._unpacked = unpacked

    async def images(
        self, *, everything: bool = False, filters: Mapping[str, Sequence[str]] | None = None
    ) -> Pruned:
        """Remove images without a name, or with ``everything`` all that no guest was made from.

        ``filters``: until (made before this moment, Unix nanoseconds), label, label!,
        dangling=false (which means everything). Raises Invalid.
        """
        wanted = _Wanted(filters or {}, everything=everything)
        before = await self._collect.usage()
        removed: list[Removed] = []
        for image in await self._table.all():
            if wanted(image) and not await self._table.users(image.id):
                removed += await self._remove(image)
        return Pruned(removed=tuple(removed), freed=max(0, before - await self._collect.usage()))

    async def _remove(self, image: Image) -> list[Removed]:
        """All names, and so the image; nothing more when somebody began to use it."""
        done: list[Removed] = []
        try:
            for name in image.references or (image.id,):
                done += await self._images.remove(name)
        except (Conflict, NotFound):
            return done
        return done

    async def builds(self) -> int:
        """Forget what builds keep and none uses now; the bytes that it frees."""
        return await self._evict(self._builds)

    async def unpacked(self) -> int:
        """Drop the unpacked layers and disks that no guest uses, which are made again when they
        are needed; the bytes that it frees."""
        return await self._evict(self._unpacked)

    async def _evict(self, caches: Sequence[Cache]) -> int:
        before = await self._collect.usage()
        found = await self._collect.measure()
        freed = 0
        for cache in caches:
            entries = await cache.entries(found)
            for entry in sorted(entries, key=lambda one: -one.depth):
                if await cache.evict(entry) and entry.kind == "mount":
                    freed += entry.size
        return freed + max(0, before - await self._collect.usage())


class _Wanted:
    """The filters, read once."""

    def __init__(self, filters: Mapping[str, Sequence[str]], *, everything: bool) -> None:
        for key in filters:
            if key not in FILTERS:
                raise Invalid(
                    f"unknown filter {key[:40]!r} for a clean-up of images",
                    hint=f"filters are: {', '.join(FILTERS)}",
                )
        self._all = everything or "false" in filters.get("dangling", ())
        self._labels = [(text, True) for text in filters.get("label", ())]
        self._labels += [(text, False) for text in filters.get("label!", ())]
        self._until = min((_moment(text) for text in filters.get("until", ())), default=None)

    def __call__(self, image: Image) -> bool:
        if image.references and not self._all:
            return False
        if self._until is not None and image.created_at >= self._until:
            return False
        return all(_has(image, text) == wanted for text, wanted in self._labels)


def _moment(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise Invalid(f"the filter until={text[:40]!r} is no time", hint="write Unix nanoseconds")
    return int(text)


def _has(image: Image, text: str) -> bool:
    name, equals, value = text.partition("=")
    labels = image.config.labels
    return name in labels and (not equals or labels[name] == value)
