"""Where the things named in messages are: ids and names checked, then made into paths."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wirt.errors import NotFound
from wirt.layout import Layout
from wirt.model.image import Digest
from wirt.model.names import check_name


def layer_path(layout: Layout, chain_id: str) -> Path:
    """The directory of an unpacked layer. Raises Invalid for what is no digest."""
    return layout.layers / Digest.parse(chain_id).encoded


def layer_diffs(layout: Layout, chain_ids: Iterable[str]) -> list[Path]:
    """The overlay's lower directories, base first. Raises NotFound for one that is missing."""
    found = []
    for chain_id in chain_ids:
        path = layer_path(layout, chain_id) / "diff"
        if not path.is_dir():
            raise NotFound(
                f"the layer {chain_id} is not unpacked",
                hint="load or pull the image again",
                code="layer.missing",
            )
        found.append(path)
    return found


def disk_path(layout: Layout, image_id: str) -> Path:
    """The image's erofs. Raises Invalid for what is no digest."""
    return layout.disks / f"{Digest.parse(image_id).encoded}.erofs"


def volume_path(layout: Layout, name: str) -> Path:
    """The directory of a volume, which holds ``_data``. Raises Invalid for what is no name."""
    return layout.volumes / check_name(name, "volume")
