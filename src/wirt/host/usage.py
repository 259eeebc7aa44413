"""``wirt df``: what takes how much of the disk, so that the sum is what du(1) says.

Every byte below the state directory is counted once: a blob or layer that several owners want
belongs to the first of them, in the order in which they are asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from wirt.host.roots import Reach
from wirt.host.roster import Roster
from wirt.host.volumes import Volumes
from wirt.model.guest import GuestState
from wirt.model.image import Image
from wirt.privileged.client import Helper
from wirt.privileged.protocol import MeasureState, StateUsage
from wirt.state.images import ImageTable

_ALIVE = {GuestState.RUNNING, GuestState.PAUSED, GuestState.RESTARTING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One line of the table. ``total`` and ``active``: how many there are and are in use.
    ``size`` and ``reclaimable``: bytes; the latter of what nothing uses now."""

    type: str
    total: int
    active: int
    size: int
    reclaimable: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageShare:
    """``size``: bytes of blobs, unpacked layers and disk; ``shared``: of those, what other images
    have too. ``guests``: how many were made from it."""

    id: str
    references: tuple[str, ...]
    created_at: int
    size: int
    shared: int
    guests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestShare:
    """``size``: bytes of the guest's own files, its log too."""

    id: str
    name: str
    image: str
    state: str
    created_at: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeShare:
    """``guests``: how many have it."""

    name: str
    guests: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``total``: bytes of the state directory. ``limit``: of ``--max-disk``, 0 for none."""

    total: int
    limit: int
    shares: tuple[Share, ...]
    images: tuple[ImageShare, ...]
    guests: tuple[GuestShare, ...]
    volumes: tuple[VolumeShare, ...]


Sizes = dict[str, int]
"""Bytes by item: ``blob <digest>``, ``layer <chain id>``, ``disk <image id>``."""


class DiskUsage:
    """Measures and sums up."""

    def __init__(
        self,
        *,
        helper: Helper,
        reach: Reach,
        table: ImageTable,
        roster: Roster,
        volumes: Volumes,
        limit: int,
    ) -> None:
        self._helper = helper
        self._reach = reach
        self._table = table
        self._roster = roster
        self._volumes = volumes
        self._limit = limit

    async def report(self) -> Report:
        """What is there now."""
        found, _ = await self._helper.call(MeasureState())
        items = _items(found)
        images, kept = await self._images(items)
        guests = self._guests(found)
        volumes = await self._of_volumes(found)
        shares = [
            *await self._owners(items, images, kept),
            _guest_share(guests),
            Share(
                type="Volumes",
                total=len(volumes),
                active=sum(1 for one in volumes if one.guests),
                size=sum(one.size for one in volumes),
                reclaimable=sum(one.size for one in volumes if not one.guests),
            ),
        ]
        total = _total(found)
        rest = total - sum(share.size for share in shares)
        shares.append(Share(type="Other", total=0, active=0, size=rest, reclaimable=0))
        return Report(
            total=total,
            limit=self._limit,
            shares=tuple(shares),
            images=images,
            guests=guests,
            volumes=volumes,
        )

    async def _owners(
        self, items: Sizes, images: tuple[ImageShare, ...], kept: frozenset[str]
    ) -> list[Share]:
        """Images, builds and whoever else wants blobs and layers; each item counts once."""
        left = dict(items)
        shares = []
        for title, wanted in await self._reach.by_owner():
            own = {name: left.pop(name) for name in wanted if name in left}
            if title == "Build Cache":
                own |= {name: left.pop(name) for name in list(left) if name.startswith("cache ")}
            shares.append(
                Share(
                    type=title,
                    total=len(images) if title == "Images" else len(own),
                    active=sum(1 for one in images if one.guests) if title == "Images" else 0,
                    size=sum(own.values()),
                    reclaimable=sum(size for name, size in own.items() if name not in kept),
                )
            )
        return shares

    async def _images(self, items: Sizes) -> tuple[tuple[ImageShare, ...], frozenset[str]]:
        """All images, and the items that those with guests need."""
        images = await self._table.all()
        users = Counter(guest.image_id for guest in self._roster.all())
        parts = {image.id: await self._parts(image) for image in images}
        owners = Counter(item for found in parts.values() for item in found)
        shares = [
            ImageShare(
                id=image.id,
                references=image.references,
                created_at=image.created_at,
                size=sum(items.get(item, 0) for item in parts[image.id]),
                shared=sum(items.get(item, 0) for item in parts[image.id] if owners[item] > 1),
                guests=users[image.id],
            )
            for image in images
        ]
        kept = {item for image_id, found in parts.items() if users[image_id] for item in found}
        return tuple(shares), frozenset(kept)

    async def _parts(self, image: Image) -> frozenset[str]:
        documents = {image.manifest, *image.targets.values()}
        blobs = await self._reach.below(documents)
        return frozenset(
            {f"disk {image.id}", *_named("blob", blobs), *_named("layer", image.chain_ids)}
        )

    def _guests(self, found: StateUsage) -> tuple[GuestShare, ...]:
        return tuple(
            GuestShare(
                id=guest.id,
                name=guest.name,
                image=guest.spec.image,
                state=guest.status.state.value,
                created_at=guest.created_at,
                size=found.guests.get(guest.id, 0),
            )
            for guest in self._roster.all()
        )

    async def _of_volumes(self, found: StateUsage) -> tuple[VolumeShare, ...]:
        users = await self._volumes.users()
        return tuple(
            VolumeShare(
                name=volume.name,
                guests=len(users.get(volume.name, ())),
                size=found.volumes.get(volume.name, 0),
            )
            for volume in await self._volumes.all()
        )


def _named(kind: str, names: Iterable[str]) -> set[str]:
    return {f"{kind} {name}" for name in names}


def _items(found: StateUsage) -> Sizes:
    items = {f"blob {name.replace('/', ':', 1)}": size for name, size in found.blobs.items()}
    items |= {f"layer sha256:{name}": size for name, size in found.layers.items()}
    disks = {name.removesuffix(".erofs"): size for name, size in found.disks.items()}
    items |= {f"disk sha256:{name}": size for name, size in disks.items()}
    return items | {f"cache {name}": size for name, size in found.caches.items()}


def _total(found: StateUsage) -> int:
    parts = (
        found.layers, found.disks, found.guests, found.volumes, found.caches, found.blobs,
        found.uploads,
    )  # fmt: skip
    return found.rest + sum(sum(part.values()) for part in parts)


def _guest_share(guests: tuple[GuestShare, ...]) -> Share:
    alive = {state.value for state in _ALIVE}
    return Share(
        type="Guests",
        total=len(guests),
        active=sum(1 for one in guests if one.state in alive),
        size=sum(one.size for one in guests),
        reclaimable=sum(one.size for one in guests if one.state not in alive),
    )
