"""What the runner of steps stands on, made by the wiring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wirt.engine.protocol import Engine
from wirt.host.layers import Layers
from wirt.host.networks import Networks
from wirt.host.pipe import Pipes
from wirt.image.store import BlobStore
from wirt.layout import Layout
from wirt.model.guest import Isolation
from wirt.privileged.client import Helper


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildGround:
    """The things that steps need of the daemon."""

    layout: Layout
    helper: Helper
    engines: Mapping[Isolation, Engine]
    networks: Networks
    pipes: Pipes
    store: BlobStore
    layers: Layers
