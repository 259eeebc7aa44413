"""What ``docker save`` writes: ``manifest.json`` with a list of images, their configurations and
layers as members of any name."""

from __future__ import annotations

import json
from dataclasses import replace

from wirt.errors import Invalid
from wirt.image import archive_oci, document
from wirt.image.archive import Archive, Bundle
from wirt.image.document import MAX_DOCUMENT, refuse
from wirt.image.manifest import MAX_LAYERS
from wirt.image.platform import Platform
from wirt.model.image import Reference

_WHAT = "manifest.json"


def bundles(archive: Archive, machine: Platform) -> tuple[Bundle, ...]:
    """The images of an archive. When it is an OCI layout as well, its manifests are kept."""
    data = archive.text(archive.get("manifest.json"), MAX_DOCUMENT)
    # document.parse takes objects only, and this one file is a list
    node = document.parse(b'{"images":' + data + b"}", _WHAT)
    entries = document.objects(node, "images", _WHAT, most=1000)
    manifests = _manifests(archive, machine)
    result = []
    for entry in entries:
        config = archive.get(document.string(entry, "Config", _WHAT))
        layers = document.strings(entry, "Layers", _WHAT)
        if len(layers) > MAX_LAYERS:
            raise refuse(_WHAT, f"an image has {len(layers)} layers, {MAX_LAYERS} are allowed")
        tags = document.strings(entry, "RepoTags", _WHAT)
        references = tuple(dict.fromkeys(str(Reference.parse(tag)) for tag in tags))
        known = manifests.get(str(config.digest))
        if known is not None:
            names = tuple(dict.fromkeys((*references, *known.references)))
            bundle = replace(known, references=names)
        else:
            bundle = Bundle(
                config=config,
                layers=tuple((archive.get(name), None) for name in layers),
                references=references,
            )
        result.append(bundle)
    return tuple(result)


def _manifests(archive: Archive, machine: Platform) -> dict[str, Bundle]:
    """The OCI side of an archive that has both, by digest of the configuration."""
    if archive.find("oci-layout") is None or archive.find("index.json") is None:
        return {}
    return {str(b.config.digest): b for b in archive_oci.bundles(archive, machine)}


def read(archive: Archive, machine: Platform) -> tuple[Bundle, ...]:
    """The images of an archive of either form. Raises Invalid when it is neither."""
    if archive.find("manifest.json") is not None:
        return bundles(archive, machine)
    if archive.find("oci-layout") is not None:
        return archive_oci.bundles(archive, machine)
    raise Invalid(
        "this is no archive of images: it has neither manifest.json nor oci-layout",
        hint="a plain root file system is taken in by 'wirt import'",
        code="archive.no-image",
    )


def encode(entries: list[dict[str, object]]) -> bytes:
    """The bytes of ``manifest.json``."""
    return json.dumps(entries, separators=(",", ":")).encode()
