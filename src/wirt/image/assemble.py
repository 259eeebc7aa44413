"""From one bundle of an archive to an image in the store: checks first, then commits."""

from __future__ import annotations

from dataclasses import dataclass

from wirt.errors import Invalid
from wirt.image import config as configuration
from wirt.image.archive import Archive, Bundle
from wirt.image.config import Configuration
from wirt.image.document import MAX_DOCUMENT
from wirt.image.manifest import (
    DOCKER_CONFIG,
    OCI_CONFIG,
    OCI_LAYER,
    Descriptor,
    Manifest,
    encode_manifest,
    parse_manifest,
)
from wirt.image.store import BlobStore, Lease, Upload
from wirt.model.image import Digest

_SUFFIXES = ((b"\x1f\x8b\x08", "+gzip"), (b"\x28\xb5\x2f\xfd", "+zstd"))
_FOREIGN = ((b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An image whose blobs are in the store, not yet unpacked.

    ``blobs``: every digest that belongs to it, manifest and configuration included.
    """

    id: Digest
    manifest: Digest
    configuration: Configuration
    layers: tuple[Digest, ...]
    references: tuple[str, ...] = ()

    @property
    def blobs(self) -> tuple[Digest, ...]:
        return tuple(dict.fromkeys((self.id, self.manifest, *self.layers)))

    @property
    def chain_ids(self) -> tuple[str, ...]:
        return configuration.chain_ids(self.configuration.diff_ids)


def store_bundle(bundle: Bundle, store: BlobStore, lease: Lease) -> Stored:
    """Commit a bundle's blobs. Raises Invalid before anything is stored."""
    data = Archive.text(bundle.config, MAX_DOCUMENT)
    parsed = configuration.parse(data)
    if len(parsed.diff_ids) != len(bundle.layers):
        raise Invalid(
            f"the image has {len(bundle.layers)} layers, but its configuration names "
            f"{len(parsed.diff_ids)}",
            hint="the archive is damaged or forged: get it again",
            code="image.layer-count",
        )
    layers = tuple(_layer_descriptor(upload, said) for upload, said in bundle.layers)
    config = _commit(bundle.config, store, lease, _config_digest(bundle))
    for (upload, _), descriptor in zip(bundle.layers, layers, strict=True):
        _commit(upload, store, lease, descriptor.digest)
    if bundle.manifest is not None and bundle.manifest_descriptor is not None:
        manifest = _commit(bundle.manifest, store, lease, bundle.manifest_descriptor.digest)
    else:
        made = Manifest(
            config=Descriptor(media_type=OCI_CONFIG, digest=config, size=len(data)), layers=layers
        )
        manifest = store.put(encode_manifest(made), lease)
    return Stored(
        id=config,
        manifest=manifest,
        configuration=parsed,
        layers=tuple(layer.digest for layer in layers),
        references=bundle.references,
    )


def _config_digest(bundle: Bundle) -> Digest:
    """The name by which the manifest knows the configuration (sha256 unless it says sha512)."""
    if bundle.manifest is not None and bundle.manifest_descriptor is not None:
        data = Archive.text(bundle.manifest, MAX_DOCUMENT)
        read = parse_manifest(data, media_type=bundle.manifest_descriptor.media_type)
        if read.config.media_type not in {OCI_CONFIG, DOCKER_CONFIG}:
            raise Invalid(
                f"this is no image to run: its configuration is a {read.config.media_type[:100]!r}",
                code="image.media-type",
            )
        return read.config.digest
    return bundle.config.digest


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
