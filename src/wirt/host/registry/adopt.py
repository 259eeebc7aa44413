"""Push to one's own registry: the blobs are there already, so only rows are written."""

from __future__ import annotations

import time
from collections.abc import Sequence

from wirt.errors import NotFound
from wirt.host.pipe import Pipes
from wirt.host.registry.manifests import needed, refusal
from wirt.host.registry.refusals import bad_manifest
from wirt.image import catalog
from wirt.image.manifest import type_of
from wirt.image.store import BlobStore, Lease
from wirt.model.image import Digest
from wirt.model.registry import check_name, check_tag
from wirt.state.manifests import ManifestRow, Role
from wirt.state.repositories import Addition, RepositoryTable

MAX_MANIFESTS = 5000
"""Of an index with all its indexes."""


class Adopt:
    """Gives a repository a manifest of the local store, with all of its parts that are there."""

    def __init__(self, *, store: BlobStore, pipes: Pipes, table: RepositoryTable) -> None:
        self._store = store
        self._pipes = pipes
        self._table = table

    async def adopt(
        self, repository: str, manifest: Digest, *, tags: Sequence[str]
    ) -> tuple[ManifestRow, ...]:
        """Rows for a manifest or index and what it names; what was added, parts first.

        Parts that the store lacks (other platforms, layers that must not be distributed) stay
        absent. Raises NotFound when the manifest itself is absent, Invalid for bad names.
        """
        check_name(repository)
        names = tuple(check_tag(tag) for tag in tags)
        with self._store.lease() as lease:
            found = await self._pipes.call(lambda: self._gather(manifest, lease))
            documents = [document for document, _ in reversed(found)]
            sizes = [entry for _, blobs in found for entry in blobs]
            additions = [
                Addition(
                    repository=repository,
                    document=document,
                    needed=needed(document),
                    tags=names if document.digest == str(manifest) else (),
                    move=True,
                    now=time.time_ns(),
                )
                for document in documents
            ]
            obstacle = await self._table.adopt(additions, sizes)
        if obstacle is not None:
            raise refusal(obstacle)
        return tuple(documents)

    def _gather(
        self, manifest: Digest, lease: Lease
    ) -> list[tuple[ManifestRow, list[tuple[str, int]]]]:
        """Every manifest that is there, the named one first, each with its blobs' sizes. Blocks."""
        found: dict[Digest, tuple[ManifestRow, list[tuple[str, int]]]] = {}
        waiting = [manifest]
        while waiting:
            digest = waiting.pop(0)
            if digest in found:
                continue
            if len(found) >= MAX_MANIFESTS:
                raise bad_manifest(f"it names more than {MAX_MANIFESTS} manifests")
            lease.hold(digest)
            try:
                data = self._store.document(digest)
                document = catalog.row(catalog.read(data, digest, type_of(data)))
                found[digest] = (document, self._sizes(document, lease))
            except NotFound:
                if digest == manifest:
                    raise
                continue
            waiting += [Digest.parse(p.digest) for p in document.parts if p.role is Role.MANIFEST]
        return list(found.values())

    def _sizes(self, document: ManifestRow, lease: Lease) -> list[tuple[str, int]]:
        sizes: list[tuple[str, int]] = []
        must = needed(document)
        for part in document.parts:
            if part.role is Role.MANIFEST:
                continue
            digest = Digest.parse(part.digest)
            lease.hold(digest)
            try:
                sizes.append((part.digest, self._store.size(digest)))
            except NotFound:
                if part.digest in must:
                    raise
        return sizes
