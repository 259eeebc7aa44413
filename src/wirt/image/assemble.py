"""From one bundle of an archive to an image in the store: checks first, then commits."""

from __future__ import annotations

from dataclasses import dataclass

from wirt.errors import Invalid
from wirt.image import config as configuration
from wirt.image.archive import Archive, Bundle
from wirt.image.catalog import Document
from wirt.image.config import Configuration
from wirt.image.document import MAX_DOCUMENT
from wirt.image.manifest import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    encode_manifest,
)
from wirt.image.store import BlobStore, Lease, Upload
from wirt.model.image import Digest

_SUFFIXES = ((b"\x1f\x8b\x08", "+gzip"), (b"\x28\xb5\x2f\xfd", "+zstd"))
_FOREIGN = ((b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An image whose blobs are in the store, not yet unpacked.

    ``target``: the document that its names mean, its manifest or an index above it.
    ``documents``: those two and all that came with them, as they will be noted.
    """

    id: Digest
    manifest: Digest
    configuration: Configuration
    layers: tuple[Digest, ...]
    target: Digest
    documents: tuple[Document, ...]
    references: tuple[str, ...] = ()

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """What the image itself cannot do without."""
        return tuple(dict.fromkeys((self.id, self.manifest, *self.layers)))

    @property
    def chain_ids(self) -> tuple[str, ...]:
        return configuration.chain_ids(self.configuration.diff_ids)


def store_bundle(bundle: Bundle, store: BlobStore, lease: Lease) -> Stored:
    """Commit a bundle's blobs. Raises Invalid before anything is stored."""
    data = _config(bundle, store)
    parsed = configuration.parse(data)
    if len(parsed.diff_ids) != len(bundle.layers):
        raise Invalid(
            f"the image has {len(bundle.layers)} layers, but its configuration names "
            f"{len(parsed.diff_ids)}",
            hint="the archive is damaged or forged: get it again",
            code="image.layer-count",
        )
    layers = tuple(_layer_descriptor(upload, said) for upload, said in bundle.layers)
    for digest, upload in bundle.members:
        _commit(upload, store, lease, digest)
    if bundle.manifest is not None and bundle.target is not None:
        manifest, target, documents = bundle.manifest, bundle.target, bundle.documents
    else:
        for (upload, _), descriptor in zip(bundle.layers, layers, strict=True):
            _commit(upload, store, lease, descriptor.digest)
        digest = _commit(bundle.config, store, lease, bundle.config.digest)
        config = Descriptor(media_type=OCI_CONFIG, digest=digest, size=len(data))
        manifest = put_manifest(Manifest(config=config, layers=layers), store, lease)
        target, documents = manifest.digest, (manifest,)
    assert isinstance(manifest.content, Manifest)
    return Stored(
        id=manifest.content.config.digest,
        manifest=manifest.digest,
        configuration=parsed,
        layers=tuple(layer.digest for layer in layers),
        target=target,
        documents=documents,
        references=bundle.references,
    )


def put_manifest(manifest: Manifest, store: BlobStore, lease: Lease) -> Document:
    """Store a manifest that is made here, of blobs that are in the store."""
    data = encode_manifest(manifest)
    digest = store.put(data, lease)
    return Document(digest=digest, media_type=OCI_MANIFEST, size=len(data), content=manifest)


def _config(bundle: Bundle, store: BlobStore) -> bytes:
    """The configuration's bytes; an image before this one may have brought it into the store."""
    if bundle.config.path.exists():
        return Archive.text(bundle.config, MAX_DOCUMENT)
    if bundle.manifest is None:
        return store.document(bundle.config.digest)
    assert isinstance(bundle.manifest.content, Manifest)
    return store.document(bundle.manifest.content.config.digest)


def _commit(upload: Upload, store: BlobStore, lease: Lease, digest: Digest) -> Digest:
    if upload.path.exists():
        return store.commit(upload, lease, digest=digest)
    lease.hold(digest)  # several images of one archive share it
    store.size(digest)
    return digest


def _layer_descriptor(upload: Upload, said: Descriptor | None) -> Descriptor:
    if said is not None:
        return said
    return Descriptor(media_type=layer_type(upload), digest=upload.digest, size=upload.size)


def layer_type(upload: Upload) -> str:
    """The media type of a layer by its first bytes. Raises Invalid for xz and bzip2."""
    for magic, name in _FOREIGN:
        if upload.head.startswith(magic):
            raise Invalid(
                f"a layer is compressed by {name}, which images may not be",
                hint="write it with gzip or zstd",
                code="image.media-type",
            )
    suffixes = (suffix for magic, suffix in _SUFFIXES if upload.head.startswith(magic))
    return OCI_LAYER + next(suffixes, "")
