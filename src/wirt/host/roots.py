"""What must be kept: every owner of content names what it wants, and collection asks nobody else.

A new owner (a registry's repositories, a build cache) registers itself; nothing here or in the
collection knows what it is. Who wants content that is there already takes a lease on it *first*
and writes its row second: a collection that began in between leaves alone what was leased.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from wirt.state.images import ImageTable
from wirt.state.manifests import ManifestTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an owner wants kept.

    ``documents``: digests of manifests and indexes, with all that they name and all that speaks
    about them. ``blobs``: single digests. ``chain_ids``: unpacked layers. ``images``: ids of images
    whose disks may stay. ``used``: which of these chain ids and image ids are in use, so that
    they cannot be dropped and made again later.
    """

    documents: frozenset[str] = frozenset()
    blobs: frozenset[str] = frozenset()
    chain_ids: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    used: frozenset[str] = frozenset()

    def __or__(self, other: Wanted) -> Wanted:
        return Wanted(
            documents=self.documents | other.documents,
            blobs=self.blobs | other.blobs,
            chain_ids=self.chain_ids | other.chain_ids,
            images=self.images | other.images,
            used=self.used | other.used,
        )


class Roots(Protocol):
    """An owner of content. ``title``: what a list of owners calls it."""

    title: str

    async def wanted(self) -> Wanted:
        """What it wants kept now. Called often: one or two quick queries."""
        ...


class ImageRoots:
    """Images, with names or without, also those that only guests still use."""

    title = "Images"

    def __init__(self, table: ImageTable) -> None:
        self._table = table

    async def wanted(self) -> Wanted:
        """The documents that images and their names mean, their blobs and layers."""
        found = await self._table.belongings()
        return Wanted(
            documents=found.documents,
            blobs=found.blobs,
            chain_ids=found.chain_ids,
            images=found.images,
            used=found.used,
        )


class Reach:
    """All owners together."""

    def __init__(self, manifests: ManifestTable, owners: Iterable[Roots]) -> None:
        self._manifests = manifests
        self._owners = list(owners)

    def add(self, owner: Roots) -> None:
        """Ask this owner too from now on; before the first collection."""
        self._owners.append(owner)

    async def wanted(self) -> Wanted:
        """What the owners name, not yet what that leads to."""
        found = Wanted()
        for owner in self._owners:
            found |= await owner.wanted()
        return found

    async def besides(self, title: str) -> Wanted:
        """What all owners but this one name."""
        found = Wanted()
        for owner in self._owners:
            if owner.title != title:
                found |= await owner.wanted()
        return found

    async def blobs(self) -> frozenset[str]:
        """Digests of all blobs that are wanted, documents included."""
        found = await self.wanted()
        reached = await self._manifests.reachable(found.documents, referrers=True)
        return reached | found.blobs

    async def by_owner(self) -> list[tuple[str, frozenset[str]]]:
        """For each owner its title and what it leads to: ``blob``, ``layer`` or ``disk`` with the
        digest, chain id or image id behind a blank."""
        owners = []
        for owner in self._owners:
            found = await owner.wanted()
            blobs = found.blobs | await self.below(found.documents)
            items = {f"blob {name}" for name in blobs}
            items |= {f"layer {name}" for name in found.chain_ids}
            items |= {f"disk {name}" for name in found.images}
            owners.append((owner.title, frozenset(items)))
        return owners

    async def below(self, documents: Iterable[str]) -> frozenset[str]:
        """What these documents lead to: what may go when nobody wants them any more."""
        return await self._manifests.reachable(documents, referrers=True)

    async def documents(self) -> frozenset[str]:
        """All documents that have a row."""
        return frozenset(row.digest for row in await self._manifests.all())

    async def forget(self, digests: Iterable[str]) -> None:
        """Blobs that are about to go are no documents any more."""
        await self._manifests.forget(digests)
