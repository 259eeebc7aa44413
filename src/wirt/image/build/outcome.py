"""The image that a build gives: configuration and manifest, the same bytes for the same input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from wirt.image import config as configuration
from wirt.image.build.settings import Settings
from wirt.image.document import Object
from wirt.image.manifest import Descriptor, encode_json
from wirt.image.platform import Platform
from wirt.model.image import Digest

EARLIEST = 315_532_800
"""1980-01-01 in Unix seconds: the earliest time that a zip archive can name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer with its blob. ``size``: bytes of its files."""

    chain_id: str
    diff_id: Digest
    descriptor: Descriptor
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A root file system at one point of a build: layers, base first, and how it came to be."""

    layers: tuple[Layer, ...] = ()
    history: tuple[Object, ...] = ()
    epoch: int = EARLIEST
    """Unix seconds: the time that new files and history entries say."""

    @property
    def chain_ids(self) -> tuple[str, ...]:
        return tuple(layer.chain_id for layer in self.layers)

    @property
    def chain_id(self) -> str:
        """The name of the whole, empty for an empty one."""
        return self.layers[-1].chain_id if self.layers else ""

    def chain_with(self, diff_id: Digest) -> str:
        """What a layer on top of it is called."""
        return configuration.chain_ids((*(la.diff_id for la in self.layers), diff_id))[-1]

    def with_step(self, said: str, layer: Layer | None) -> Root:
        """After one instruction."""
        entry: Object = {
            "created": configuration.format_time(self.epoch * 10**9),
            "created_by": said,
            "comment": "wirt.dockerfile",
            **({} if layer else {"empty_layer": True}),
        }
        layers = (*self.layers, layer) if layer else self.layers
        return replace(self, layers=layers, history=(*self.history, entry))


def encode_image(
    root: Root, settings: Settings, platform: Platform, labels: Mapping[str, str]
) -> bytes:
    """The configuration blob. ``labels``: further ones, which win."""
    node = dict(settings.node)
    if labels:
        node["Labels"] = dict(sorted({**(node.get("Labels") or {}), **labels}.items()))
    return encode_json(
        {
            "created": configuration.format_time(root.epoch * 10**9),
            **({"author": settings.author} if settings.author else {}),
            "architecture": platform.architecture,
            **({"variant": platform.variant} if platform.variant else {}),
            "os": platform.os,
            "config": dict(sorted(node.items())),
            "rootfs": {"type": "layers", "diff_ids": [str(la.diff_id) for la in root.layers]},
            "history": list(root.history),
        }
    )
