"""The OCI image layout in a tar (image-layout.md of the OCI image specification)."""

from __future__ import annotations

from wirt.errors import Invalid
from wirt.image import document, platform
from wirt.image.archive import Archive, Bundle
from wirt.image.document import MAX_DOCUMENT
from wirt.image.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    parse,
    parse_index,
)
from wirt.image.platform import Platform
from wirt.image.store import Upload
from wirt.model.image import Reference

REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"
MAX_DEPTH = 8
"""Indexes inside indexes; more is an attack."""

_KNOWN = {OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST}


def bundles(archive: Archive, machine: Platform) -> tuple[Bundle, ...]:
    """The images of a layout for ``machine``, one for each entry of ``index.json``."""
    marker = document.parse(archive.text(archive.get("oci-layout"), 4096), "oci-layout")
    version = document.string(marker, "imageLayoutVersion", "oci-layout")
    if version.split(".")[0] != "1":
        raise Invalid(f"the layout is of the unknown version {version[:20]!r}")
    index = parse_index(archive.text(archive.get("index.json"), MAX_DOCUMENT))
    names: dict[str, list[str]] = {}
    for entry in index.manifests:
        if entry.media_type not in _KNOWN:
            continue  # unknown types are no error (image-layout.md)
        names.setdefault(str(entry.digest), []).extend(_names(entry))
    entries = {str(entry.digest): entry for entry in index.manifests if str(entry.digest) in names}
    return tuple(
        _bundle(archive, _resolve(archive, entry, machine, 0), tuple(dict.fromkeys(names[digest])))
        for digest, entry in entries.items()
    )


def _names(entry: Descriptor) -> list[str]:
    """The references that an entry's annotations give: containerd's full one, or the spec's
    when it names more than a bare tag."""
    full = entry.annotations.get(FULL_NAME, "")
    short = entry.annotations.get(REF_NAME, "")
    if full:
        return [str(Reference.parse(full))]
    if "/" in short or ":" in short:
        return [str(Reference.parse(short))]
    return []


def _resolve(archive: Archive, entry: Descriptor, machine: Platform, depth: int) -> Descriptor:
    """The manifest for this machine, through indexes inside indexes."""
    if entry.media_type not in {OCI_INDEX, DOCKER_INDEX}:
        return entry
    if depth >= MAX_DEPTH:
        raise Invalid(
            f"the image's indexes are nested deeper than {MAX_DEPTH} levels",
            code="image.malformed",
        )
    index = parse(archive.text(blob(archive, entry), MAX_DOCUMENT), entry.media_type)
    assert isinstance(index, Index)
    present = [d for d in index.manifests if archive.find(_path(d)) is not None]
    candidates = [(d.platform or Platform(), d) for d in present if d.media_type in _KNOWN]
    _, chosen = platform.choose(candidates, machine, what=f"the image {entry.digest}")
    return _resolve(archive, chosen, machine, depth + 1)


def _bundle(archive: Archive, entry: Descriptor, references: tuple[str, ...]) -> Bundle:
    upload = blob(archive, entry)
    manifest = parse(archive.text(upload, MAX_DOCUMENT), entry.media_type)
    assert not isinstance(manifest, Index)
    return Bundle(
        config=blob(archive, manifest.config),
        layers=tuple((blob(archive, layer), layer) for layer in manifest.layers),
        manifest=upload,
        manifest_descriptor=entry,
        references=references,
    )


def _path(descriptor: Descriptor) -> str:
    return f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.encoded}"


def blob(archive: Archive, descriptor: Descriptor) -> Upload:
    """The member with a descriptor's content. Raises Invalid when it has another size or digest."""
    upload = archive.get(_path(descriptor))
    if upload.size != descriptor.size:
        raise Invalid(
            f"the blob {descriptor.digest} has {upload.size} bytes instead of {descriptor.size}",
            hint="the archive is damaged or forged: get it again",
            code="blob.size",
        )
    if descriptor.digest not in upload.digests:
        raise Invalid(
            f"the content of the blob {descriptor.digest} is another: it has the digest "
            f"{upload.digest}",
            hint="the archive is damaged or forged: get it again",
            code="blob.digest",
        )
    return upload
