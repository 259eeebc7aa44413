"""From a document's bytes to the row that the store keeps of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from wirt.image import manifest
from wirt.image.manifest import Descriptor, Index, Manifest
from wirt.model.image import Digest
from wirt.state.manifests import ManifestRow, Part, Role

DOCUMENTS = frozenset(
    {manifest.OCI_MANIFEST, manifest.OCI_INDEX, manifest.DOCKER_MANIFEST, manifest.DOCKER_INDEX}
)
"""Media types that name further content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A manifest or index with the name under which it is stored. ``size``: its bytes."""

    digest: Digest
    media_type: str
    size: int
    content: Manifest | Index

    @property
    def parts(self) -> tuple[tuple[Role, Descriptor], ...]:
        """What it names, in its order; not its subject."""
        if isinstance(self.content, Index):
            return tuple((Role.MANIFEST, found) for found in self.content.manifests)
        layers = ((Role.LAYER, found) for found in self.content.layers)
        return ((Role.CONFIG, self.content.config), *layers)


def read(data: bytes, digest: Digest, media_type: str) -> Document:
    """Read a document of this type. Raises Invalid, Unsupported."""
    return Document(
        digest=digest,
        media_type=media_type,
        size=len(data),
        content=manifest.parse(data, media_type),
    )


def row(document: Document) -> ManifestRow:
    """The row of a document that is stored now."""
    content = document.content
    artifact = content.artifact_type
    if not artifact and isinstance(content, Manifest):
        artifact = content.config.media_type  # what referrers answer (OCI distribution, end-12)
    return ManifestRow(
        digest=str(document.digest),
        media_type=document.media_type,
        size=document.size,
        stored_at=time.time_ns(),
        artifact_type=artifact,
        subject=str(content.subject.digest) if content.subject else "",
        annotations=content.annotations,
        parts=tuple(
            Part(
                digest=str(part.digest),
                role=role,
                media_type=part.media_type,
                size=part.size,
                platform=str(part.platform or ""),
            )
            for role, part in document.parts
        ),
    )
