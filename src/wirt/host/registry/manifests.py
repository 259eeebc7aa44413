"""Manifests and tags: pushing, reading, listing, deleting; and what refers to what."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from wirt.errors import Invalid, Unsupported
from wirt.host.pipe import Pipes
from wirt.host.registry.refusals import (
    bad_digest,
    bad_manifest,
    denied,
    missing_part,
    too_large,
    unknown_manifest,
    unknown_name,
)
from wirt.image import catalog
from wirt.image.document import MAX_DOCUMENT
from wirt.image.store import BlobStore
from wirt.model.image import Digest
from wirt.model.registry import RepositorySummary
from wirt.privileged.faults import fault
from wirt.state.manifests import ManifestRow, Role
from wirt.state.repositories import Addition, Obstacle, RepositoryTable

MAX_PAGE = 10_000
"""Names of one answer, whatever the client asks for (CVE-2023-2253)."""
REFERRERS_PAGE = 500
REFERRERS_BYTES = 2 * 1024 * 1024
"""Of a page's annotations; a client may refuse an index of more than 4 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of a list. ``more``: the last one to ask on from, "" at the end."""

    names: tuple[str, ...]
    more: str = ""


class Manifests:
    """The manifests and tags of all repositories. ``freed``: told when something was deleted, so
    that its bytes are collected soon."""

    def __init__(
        self,
        *,
        store: BlobStore,
        pipes: Pipes,
        table: RepositoryTable,
        freed: Callable[[], None],
    ) -> None:
        self._store = store
        self._pipes = pipes
        self._table = table
        self._freed = freed

    # --- reading ----------------------------------------------------------------------------

    async def find(self, repository: str, reference: str) -> ManifestRow:
        """By tag or digest. Raises NotFound."""
        found = await self._table.manifest(repository, reference)
        if found is None:
            raise unknown_manifest(reference)
        return found

    async def content(self, document: ManifestRow) -> bytes:
        """Exactly the bytes that were pushed."""
        digest = Digest.parse(document.digest)
        return await self._pipes.call(lambda: self._store.document(digest))

    async def referrers(
        self, repository: str, subject: Digest, *, artifact_type: str, after: str
    ) -> tuple[list[ManifestRow], str]:
        """Manifests about another one, and where the next page begins ("" at the end)."""
        found = await self._table.referrers(
            repository,
            str(subject),
            artifact_type=artifact_type,
            after=after,
            most=REFERRERS_PAGE + 1,
        )
        page: list[ManifestRow] = []
        room = REFERRERS_BYTES
        for document in found:
            room -= sum(len(k) + len(v) for k, v in document.annotations.items())
            if page and (room < 0 or len(page) == REFERRERS_PAGE):
                return page, page[-1].digest
            page.append(document)
        return page, ""

    async def tags(self, repository: str, *, after: str, most: int) -> Page:
        """Tags in order. Raises NotFound when there is no such repository."""
        most = min(most, MAX_PAGE)
        found = await self._table.tags(repository, after=after, most=most + 1)
        if found is None:
            raise unknown_name(repository)
        return _page(found, most)

    async def names(self, *, after: str, most: int) -> Page:
        """Repositories in order."""
        most = min(most, MAX_PAGE)
        return _page(await self._table.names(after=after, most=most + 1), most)

    async def summaries(self) -> list[RepositorySummary]:
        """Every repository with what it has."""
        return await self._table.summaries()

    # --- changing ---------------------------------------------------------------------------

    async def push(
        self,
        repository: str,
        data: bytes,
        *,
        media_type: str,
        digest: Digest | None,
        tags: tuple[str, ...],
        move: bool,
    ) -> ManifestRow:
        """Store a manifest and set its tags. ``digest``: what it must have, None for any.

        ``move``: whether tags may be set that point elsewhere now. Raises Invalid, NotFound for
        parts that are not there, Forbidden.
        """
        if len(data) > MAX_DOCUMENT:
            raise too_large(MAX_DOCUMENT)
        algorithm = digest.algorithm if digest else "sha256"
        with self._store.lease() as lease:

            def store() -> ManifestRow:
                further = () if algorithm == "sha256" else (algorithm,)
                with self._store.upload(algorithms=further) as upload:
                    upload.write(data)
                    upload.seal()
                    own = upload.digests[-1]
                    if digest is not None and own != digest:
                        raise bad_digest(f"the manifest has the digest {own}, not {digest}")
                    document = catalog.row(catalog.read(data, own, media_type))
                    fault("registry.manifest-read")
                    self._store.commit(upload, lease, digest=own)
                return document

            try:
                document = await self._pipes.call(store)
            except (Invalid, Unsupported) as error:
                if error.code.startswith("registry."):
                    raise
                raise bad_manifest(error.message) from error
            fault("registry.manifest-stored")
            obstacle = await self._table.add_manifest(
                Addition(
                    repository=repository,
                    document=document,
                    needed=needed(document),
                    tags=tags,
                    move=move,
                    now=time.time_ns(),
                )
            )
        fault("registry.manifest-known")
        if obstacle is not None:
            raise refusal(obstacle)
        return document

    async def delete(self, repository: str, reference: str) -> None:
        """A tag goes alone, a manifest (by digest) with its tags. Raises NotFound."""
        if ":" in reference:
            gone = await self._table.remove_manifest(repository, reference)
        else:
            gone = await self._table.remove_tag(repository, reference)
        if not gone:
            raise unknown_manifest(reference)
        self._freed()

    async def remove_repository(self, repository: str) -> None:
        """Delete all that a repository has. Raises NotFound."""
        if not await self._table.remove(repository):
            raise unknown_name(repository)
        self._freed()


_ELSEWHERE = ("nondistributable", "rootfs.foreign")
"""Layers whose media type has such a word are fetched from where they are allowed to be."""


def needed(document: ManifestRow) -> tuple[str, ...]:
    """The parts that must be there before: blobs, while manifests of an index may be absent."""
    return tuple(
        part.digest
        for part in document.parts
        if part.role is not Role.MANIFEST
        and not any(word in part.media_type for word in _ELSEWHERE)
    )


def refusal(obstacle: Obstacle) -> Exception:
    """The error that an obstacle is."""
    if obstacle.part:
        return missing_part(obstacle.part)
    return denied(f"move the tag {obstacle.tag}, which exists")


def _page(found: list[str], most: int) -> Page:
    names = tuple(found[:most])
    return Page(names=names, more=names[-1] if names and len(found) > most else "")
