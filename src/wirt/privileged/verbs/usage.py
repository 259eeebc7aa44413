"""What the state takes on the disk, and whether unpacked layers are as their blobs say."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from wirt.errors import Invalid
from wirt.privileged.compare import difference
from wirt.privileged.context import Context, on
from wirt.privileged.measure import measure
from wirt.privileged.paths import layer_diffs, layer_path
from wirt.privileged.protocol import (
    ApplyLayer,
    ComparedLayer,
    CompareLayer,
    MeasureState,
    StateUsage,
)
from wirt.privileged.verbs.images import unpacked

PARTS = ("layers", "disks", "guests", "volumes", "caches", "blobs", "uploads")


def measure_state(ctx: Context, _verb: MeasureState, _fds: Sequence[int]) -> StateUsage:
    """Every entry of the known directories by its name; all the rest in one."""
    state = ctx.layout.state
    seen: set[tuple[int, int]] = set()
    rest = own(state)
    found: dict[str, dict[str, int]] = {name: {} for name in PARTS}
    for path in sorted(state.iterdir()):
        if path.name not in found or not _is_directory(path):
            rest += whole(path, seen)
            continue
        rest += own(path)
        for entry in path.iterdir():
            if path.name == "blobs" and _is_directory(entry):
                rest += own(entry)
                inner = {f"{entry.name}/{blob.name}": whole(blob, seen) for blob in entry.iterdir()}
                found["blobs"] |= inner
            else:
                found[path.name][entry.name] = whole(entry, seen)
    return StateUsage(**found, rest=rest)


def own(path: Path) -> int:
    """Bytes of a file or of a directory itself; 0 when it is gone."""
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0


def whole(path: Path, seen: set[tuple[int, int]]) -> int:
    """Bytes of a file, or of a directory with all that is in it; hard links once."""
    if _is_directory(path):
        return max(0, measure(path, seen))
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0
    if status.st_nlink > 1:
        key = (status.st_dev, status.st_ino)
        if key in seen:
            return 0
        seen.add(key)
    return status.st_blocks * 512


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def compare_layer(ctx: Context, verb: CompareLayer, fds: Sequence[int]) -> ComparedLayer:
    """Unpack the blob once more, and look for the first difference."""
    parents = layer_diffs(ctx.layout, verb.parents)
    wish = ApplyLayer(
        chain_id=verb.chain_id,
        parents=verb.parents,
        expected=verb.expected,
        max_bytes=verb.max_bytes,
        max_entries=verb.max_entries,
    )
    try:
        with unpacked(ctx.layout, parents, wish, fds[0]) as fresh:
            there = layer_path(ctx.layout, verb.chain_id) / "diff"
            return ComparedLayer(difference=difference(there, fresh))
    except Invalid as error:
        return ComparedLayer(difference=f"its blob does not unpack: {error.message}")


HANDLERS = (
    on(MeasureState, measure_state),
    on(CompareLayer, compare_layer),
)
