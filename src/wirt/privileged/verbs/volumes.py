"""Volumes: a directory each, ``volumes/<name>/_data``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from wirt.privileged import scratch
from wirt.privileged.context import Context, on
from wirt.privileged.faults import fault
from wirt.privileged.paths import volume_path
from wirt.privileged.protocol import Done, DropVolume, MakeVolume, Sweep


def make_volume(ctx: Context, verb: MakeVolume, _fds: Sequence[int]) -> Done:
    """Make a volume's directory, owned by root until it is filled."""
    data = volume_path(ctx.layout, verb.name) / "_data"
    ctx.layout.volumes.mkdir(mode=0o711, parents=True, exist_ok=True)
    data.parent.mkdir(mode=0o711, exist_ok=True)
    if not data.exists():
        data.mkdir()
        data.chmod(0o755)
    return Done()


def drop_volume(ctx: Context, verb: DropVolume, _fds: Sequence[int]) -> Done:
    """Delete a volume with its files."""
    _drop(volume_path(ctx.layout, verb.name))
    return Done()


def _drop(path: Path) -> None:
    """Rename away first: a volume is there whole or not at all."""
    if not path.is_dir():
        return
    with scratch.scratch(path.parent) as space:
        path.rename(space / "old")
        fault("volume.dropping")


def sweep_volumes(ctx: Context, sweep: Sweep) -> Iterable[str]:
    """Volumes that the database does not know."""
    if not ctx.layout.volumes.is_dir():
        return
    for name in scratch.clean(ctx.layout.volumes):
        yield f"half-removed volume {name}"
    for path in ctx.layout.volumes.iterdir():
        if path.name not in sweep.volumes and not path.name.startswith(scratch.PREFIX):
            _drop(path)
            yield f"volume {path.name}"


HANDLERS = (on(MakeVolume, make_volume), on(DropVolume, drop_volume))
SWEEPERS = (sweep_volumes,)
