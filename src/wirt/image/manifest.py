"""Manifests and indexes: OCI image specification (manifest.md, image-index.md) and Docker's
schema 2. Bytes are kept as they are; these values are what was read from them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field, replace

from wirt.errors import Invalid, Unsupported
from wirt.image import document
from wirt.image.document import Object, refuse
from wirt.image.platform import Platform
from wirt.model.image import Digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

MAX_LAYERS = 500
"""What one overlay mount of the kernel can stack."""
MAX_PARTS = 2000
"""Layers of an artifact, which is stored and never unpacked."""
MAX_MANIFESTS = 1000

_MANIFESTS = {OCI_MANIFEST, DOCKER_MANIFEST}
_INDEXES = {OCI_INDEX, DOCKER_INDEX}
_LAYER_TYPES = (OCI_LAYER, DOCKER_LAYER, "application/vnd.oci.image.layer.nondistributable.v1.tar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A reference to content: its type, digest and size in bytes. ``urls``: where it may be had
    when no registry has it."""

    media_type: str
    digest: Digest
    size: int
    annotations: dict[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    artifact_type: str = ""
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image: its configuration and its layers, base first; or an artifact, whose parts mean
    what its ``artifact_type`` says. ``subject``: the document that it speaks about."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A list of manifests, of which any may be an index again."""

    manifests: tuple[Descriptor, ...]
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = field(default_factory=dict)


def parse(data: bytes, media_type: str) -> Manifest | Index:
    """Read a document that was announced as ``media_type``.

    Raises Invalid when it contradicts the announcement or itself, Unsupported for other types.
    """
    if media_type in _MANIFESTS:
        return parse_manifest(data, media_type=media_type)
    if media_type in _INDEXES:
        return parse_index(data, media_type=media_type)
    raise Unsupported(
        f"the image has a manifest of the type {media_type[:100]!r}",
        hint="wirt reads OCI manifests and Docker's schema 2",
        code="image.media-type",
    )


def type_of(data: bytes) -> str:
    """The media type that a stored document gives itself; OCI's when it gives none."""
    node = document.parse(data, "image manifest")
    found = document.string(node, "mediaType", "image manifest")
    return found or (OCI_INDEX if "manifests" in node else OCI_MANIFEST)


def parse_manifest(data: bytes, *, media_type: str) -> Manifest:
    """An image manifest. Raises Invalid."""
    what = "image manifest"
    node = _envelope(data, what, media_type, foreign=("manifests", "fsLayers"))
    config = _descriptor(document.mapping(node, "config", what), what)
    found = document.objects(node, "layers", what, most=MAX_PARTS)
    return Manifest(
        config=config,
        layers=tuple(_descriptor(layer, what) for layer in found),
        artifact_type=document.string(node, "artifactType", what),
        subject=_subject(node, what),
        annotations=document.texts(node, "annotations", what),
    )


def as_oci_layer(layer: Descriptor) -> Descriptor:
    """The same layer in an OCI manifest, which has names of its own for Docker's types."""
    if not layer.media_type.startswith(DOCKER_LAYER):
        return layer
    suffix = layer.media_type.removeprefix(DOCKER_LAYER).replace(".", "+")
    return replace(layer, media_type=f"{OCI_LAYER}{suffix}")


def is_image(manifest: Manifest) -> bool:
    """Whether it has an image's configuration, so that it is meant to be run."""
    return manifest.config.media_type in {OCI_CONFIG, DOCKER_CONFIG}


def check_image(manifest: Manifest) -> None:
    """Raise Invalid or Unsupported for what cannot be an image to run."""
    if not is_image(manifest):
        raise Invalid(
            f"this is no image to run: its configuration is a {manifest.config.media_type[:100]!r}",
            code="image.media-type",
        )
    if len(manifest.layers) > MAX_LAYERS:
        raise refuse(
            "image manifest", f"it has {len(manifest.layers)} layers, {MAX_LAYERS} are allowed"
        )
    for layer in manifest.layers:
        if not layer.media_type.startswith(_LAYER_TYPES):
            raise Unsupported(
                f"the image has a layer of the type {layer.media_type[:100]!r}",
                hint="wirt runs images whose layers are tar archives",
                code="image.media-type",
            )


def parse_index(data: bytes, *, media_type: str = OCI_INDEX) -> Index:
    """An image index, or Docker's manifest list. Raises Invalid."""
    what = "image index"
    node = _envelope(data, what, media_type, foreign=("layers", "config", "fsLayers"))
    found = document.objects(node, "manifests", what, most=MAX_MANIFESTS)
    return Index(
        manifests=tuple(_descriptor(entry, what) for entry in found),
        artifact_type=document.string(node, "artifactType", what),
        subject=_subject(node, what),
        annotations=document.texts(node, "annotations", what),
    )


def _subject(node: Object, what: str) -> Descriptor | None:
    if node.get("subject") is None:
        return None
    return _descriptor(document.mapping(node, "subject", what), what)


def _envelope(data: bytes, what: str, media_type: str, foreign: tuple[str, ...]) -> Object:
    node = document.parse(data, what)
    if node.get("schemaVersion") != 2:
        raise refuse(what, "its schemaVersion is not 2")
    said = document.string(node, "mediaType", what)
    if said and said != media_type:
        raise refuse(what, f"it says it is {said[:100]!r}, but was announced as {media_type!r}")
    for key in foreign:
        if key in node:
            raise refuse(what, f"it also has '{key}', so readers could disagree about it")
    return node


def _descriptor(node: Object, what: str) -> Descriptor:
    media_type = document.string(node, "mediaType", what)
    text = document.string(node, "digest", what)
    size = document.integer(node, "size", what)
    if not media_type or not text:
        raise refuse(what, "a descriptor lacks its mediaType or digest")
    digest = Digest.parse(text)
    if data := document.string(node, "data", what):
        _check_data(data, digest, size, what)
    platform = None
    if node.get("platform") is not None:
        place = document.mapping(node, "platform", what)
        platform = Platform(
            os=document.string(place, "os", what),
            architecture=document.string(place, "architecture", what),
            variant=document.string(place, "variant", what),
        )
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size=size,
        annotations=document.texts(node, "annotations", what),
        platform=platform,
        artifact_type=document.string(node, "artifactType", what),
        urls=document.strings(node, "urls", what),
    )


def _check_data(data: str, digest: Digest, size: int, what: str) -> None:
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise refuse(what, "a descriptor's data is no base64") from error
    if len(content) != size or hashlib.new(digest.algorithm, content).hexdigest() != digest.encoded:
        raise refuse(what, "a descriptor's data is not what its digest says")


# --- writing --------------------------------------------------------------------------------


def encode_descriptor(descriptor: Descriptor) -> Object:
    """The JSON form."""
    node: Object = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    if descriptor.artifact_type:
        node["artifactType"] = descriptor.artifact_type
    if descriptor.urls:
        node["urls"] = list(descriptor.urls)
    if descriptor.annotations:
        node["annotations"] = dict(sorted(descriptor.annotations.items()))
    if descriptor.platform is not None:
        node["platform"] = {
            "architecture": descriptor.platform.architecture,
            "os": descriptor.platform.os,
            **({"variant": descriptor.platform.variant} if descriptor.platform.variant else {}),
        }
    return node


def encode_manifest(manifest: Manifest) -> bytes:
    """An OCI manifest; the same value gives the same bytes."""
    node: Object = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
    if manifest.artifact_type:
        node["artifactType"] = manifest.artifact_type
    node["config"] = encode_descriptor(manifest.config)
    node["layers"] = [encode_descriptor(layer) for layer in manifest.layers]
    return encode_json(node | _said(manifest))


def encode_index(index: Index) -> bytes:
    """An OCI index; the same value gives the same bytes."""
    node: Object = {"schemaVersion": 2, "mediaType": OCI_INDEX}
    if index.artifact_type:
        node["artifactType"] = index.artifact_type
    node["manifests"] = [encode_descriptor(entry) for entry in index.manifests]
    return encode_json(node | _said(index))


def _said(found: Manifest | Index) -> Object:
    """What a document says beside its parts, only where it says something."""
    node: Object = {}
    if found.subject is not None:
        node["subject"] = encode_descriptor(found.subject)
    if found.annotations:
        node["annotations"] = dict(sorted(found.annotations.items()))
    return node


def encode_json(node: object) -> bytes:
    """Compact JSON in the given order."""
    return json.dumps(node, separators=(",", ":"), ensure_ascii=False).encode()
