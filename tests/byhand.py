"""Archives made by hand: tars, docker archives, OCI layouts, with anything in them changed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One member of a hand-made tar."""

    name: str
    type: bytes = tarfile.REGTYPE
    data: bytes = b""
    link: str = ""
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    mtime: float = 1_000_000
    device: tuple[int, int] = (0, 0)
    pax: Mapping[str, str] = field(default_factory=dict)


def file(name: str, data: bytes = b"", **more: Any) -> Entry:
    return Entry(name=name, data=data, **more)


def directory(name: str, **more: Any) -> Entry:
    return Entry(name=name, type=tarfile.DIRTYPE, **more)


def symlink(name: str, link: str, **more: Any) -> Entry:
    return Entry(name=name, type=tarfile.SYMTYPE, link=link, **more)


def hard_link(name: str, link: str, **more: Any) -> Entry:
    return Entry(name=name, type=tarfile.LNKTYPE, link=link, **more)


def tar(*entries: Entry) -> bytes:
    """A tar archive with exactly these members, in this order."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape"
    ) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.type = entry.type
            default = 0o755 if entry.type == tarfile.DIRTYPE else 0o644
            info.mode = default if entry.mode is None else entry.mode
            info.size = len(entry.data)
            info.linkname = entry.link
            info.uid, info.gid = entry.uid, entry.gid
            info.mtime = entry.mtime
            info.devmajor, info.devminor = entry.device
            info.pax_headers = dict(entry.pax)
            archive.addfile(info, io.BytesIO(entry.data))
    return out.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def config_json(layers: Iterable[bytes], **more: Any) -> bytes:
    """An image configuration for uncompressed layers."""
    node = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        **more,
    }
    return json.dumps(node).encode()


def docker_archive(
    *layers: bytes, tags: Iterable[str] = ("made:latest",), config: bytes | None = None
) -> bytes:
    """What an older ``docker save`` writes."""
    config = config_json(layers) if config is None else config
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    listing = [{"Config": "config.json", "RepoTags": list(tags), "Layers": names}]
    return tar(
        *(file(name, layer) for name, layer in zip(names, layers, strict=True)),
        file("config.json", config),
        file("manifest.json", json.dumps(listing).encode()),
    )


OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


def describe(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    """A descriptor."""
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


@dataclass(kw_only=True)
class OciLayout:
    """An OCI layout being forged: change any part before :meth:`tar`."""

    layers: list[bytes]
    config: bytes = b""
    manifest: dict[str, Any] = field(default_factory=dict)
    index: dict[str, Any] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = self.config or config_json(self.layers)
        packed = [gzip.compress(layer, mtime=0) for layer in self.layers]
        self.manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": describe(self.config, OCI_CONFIG),
            "layers": [describe(layer, OCI_LAYER + "+gzip") for layer in packed],
        }
        for blob in (*packed, self.config):
            self.blobs[digest(blob)] = blob

    def tar(self, *more: Entry) -> bytes:
        manifest = json.dumps(self.manifest).encode()
        index = {
            "schemaVersion": 2,
            "manifests": [
                describe(
                    manifest,
                    OCI_MANIFEST,
                    annotations={"org.opencontainers.image.ref.name": "made:latest"},
                )
            ],
            **self.index,
        }
        self.blobs.setdefault(digest(manifest), manifest)
        return tar(
            file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
            *(file("blobs/" + name.replace(":", "/"), data) for name, data in self.blobs.items()),
            file("index.json", json.dumps(index).encode()),
            *more,
        )
