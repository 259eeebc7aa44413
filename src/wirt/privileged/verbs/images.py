"""Layers and image disks: made in a scratch directory, renamed into place when whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec

from wirt.errors import Internal, Invalid
from wirt.layout import Layout
from wirt.linux import libc, spawn
from wirt.model.image import Digest
from wirt.privileged import jail, scratch
from wirt.privileged.context import Context, on
from wirt.privileged.faults import fault
from wirt.privileged.layer import Layer
from wirt.privileged.measure import measure
from wirt.privileged.overlay import mount_overlay, pivot_into, private_mounts
from wirt.privileged.pack import FdSource
from wirt.privileged.paths import disk_path, layer_diffs, layer_path
from wirt.privileged.protocol import (
    AppliedLayer,
    ApplyLayer,
    Done,
    DropLayers,
    ImageDisk,
    ListStore,
    MakeImageDisk,
    StoreList,
    Sweep,
)
from wirt.privileged.remove import remove_tree
from wirt.privileged.unsynced import ABOUT, described, flush, is_stale
from wirt.tar.inflate import Inflater
from wirt.tar.reader import Bounds, Reader

_DISK_SECONDS = 1800.0
_DISK_TIMES = {"SOURCE_DATE_EPOCH": "253402300799"}
"""Files keep their times, which must not be later than this (the year 9999); what is said of the
disk itself has this one, so that it does not say when it was made."""


# --- layers ---------------------------------------------------------------------------------


def apply_layer(ctx: Context, verb: ApplyLayer, fds: Sequence[int]) -> AppliedLayer:
    """Unpack a layer on top of its parents."""
    final = layer_path(ctx.layout, verb.chain_id)
    done = described(final)
    if done is None or not (final / "diff").is_dir():
        if is_stale(final) or done is not None:  # half of it may be missing
            _drop(final)
        parents = layer_diffs(ctx.layout, verb.parents)
        with scratch.scratch(ctx.layout.layers) as space:
            done = _unpack(space, parents, verb, fds[0])
            _check(done, verb)
            done = msgspec.structs.replace(done, disk=measure(space / "layer") + ABOUT)
            (space / "layer" / "about").write_bytes(msgspec.json.encode(done))
            _flush(space)
            fault("layer.unpacked")
            try:
                (space / "layer").rename(final)
            except OSError:
                if described(final) is None:  # else another process was faster
                    raise
            fault("layer.renamed")
    flush(final)
    _check(done, verb)
    return done


def _unpack(space: Path, parents: list[Path], verb: ApplyLayer, blob: int) -> AppliedLayer:
    diff, work, view = space / "layer" / "diff", space / "work", space / "view"
    for path in (space / "layer", work, view):
        path.mkdir()
    diff.mkdir()
    _dress_root(diff, parents)

    def enter() -> None:
        private_mounts()
        flags = libc.MS_NODEV | libc.MS_NOSUID | libc.MS_NOEXEC
        if parents:
            mount_overlay(view, parents, upper=diff, work=work, volatile=True, flags=flags)
        else:
            libc.mount(diff, view, flags=libc.MS_BIND)
            libc.mount(None, view, flags=libc.MS_BIND | libc.MS_REMOUNT | flags)
        pivot_into(view)

    return jail.run(
        partial(_apply, verb, blob),
        AppliedLayer,
        enter=enter,
        rights=jail.Rights(capabilities=jail.WRITER, keep=(blob,), max_file=verb.max_bytes),
    )


@contextlib.contextmanager
def unpacked(layout: Layout, parents: list[Path], verb: ApplyLayer, blob: int) -> Iterator[Path]:
    """The files of a layer for the block only. Raises Invalid."""
    with scratch.scratch(layout.layers) as space:
        _check(_unpack(space, parents, verb, blob), verb)
        yield space / "layer" / "diff"


def _dress_root(diff: Path, parents: list[Path]) -> None:
    """The new layer's root looks like its parent's until a member says otherwise."""
    mode, uid, gid, time = 0o755, 0, 0, 0
    if parents:
        status = parents[-1].stat()
        mode, uid, gid = status.st_mode & 0o7777, status.st_uid, status.st_gid
        time = status.st_mtime_ns
    os.chown(diff, uid, gid)
    diff.chmod(mode)
    os.utime(diff, ns=(time, time))


def _apply(verb: ApplyLayer, blob: int) -> AppliedLayer:
    """In the jail: the layer's bytes become files."""
    hasher = hashlib.new(Digest.parse(verb.expected).algorithm if verb.expected else "sha256")
    overhead = 64 * 1024 * 1024 + 2048 * min(verb.max_entries, 1_000_000)
    source = Inflater(FdSource(blob), limit=verb.max_bytes + overhead, on_output=hasher.update)
    layer = Layer(max_bytes=verb.max_bytes, max_disk=verb.max_disk)
    reader = Reader(source, bounds=Bounds(members=verb.max_entries))
    layer.apply(reader)
    source.drain()
    return AppliedLayer(
        diff_id=f"{hasher.name}:{hasher.hexdigest()}", size=layer.size, entries=reader.count
    )


def _check(done: AppliedLayer, verb: ApplyLayer) -> None:
    if verb.expected and done.diff_id != verb.expected:
        raise Invalid(
            f"the layer's content has the digest {done.diff_id}, but its image says "
            f"{verb.expected}",
            hint="the archive is damaged or forged: get it again",
            code="layer.diff-id",
        )


def _flush(space: Path) -> None:
    """All of the new files to the disk before the rename that declares them whole."""
    fd = os.open(space, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc.syncfs(fd)
    finally:
        os.close(fd)


def drop_layers(ctx: Context, verb: DropLayers, _fds: Sequence[int]) -> Done:
    """Delete layers and disks."""
    for chain_id in verb.chain_ids:
        _drop(layer_path(ctx.layout, chain_id))
    for image_id in verb.image_ids:
        disk_path(ctx.layout, image_id).unlink(missing_ok=True)
    return Done()


def _drop(path: Path) -> None:
    """Rename away first, so that half a layer never looks like a whole one."""
    if not path.is_dir():
        return
    with scratch.scratch(path.parent) as space:
        path.rename(space / "old")
        fault("layer.dropping")


# --- disks ----------------------------------------------------------------------------------


def make_image_disk(ctx: Context, verb: MakeImageDisk, _fds: Sequence[int]) -> ImageDisk:
    """One read-only file system of all layers; the same image gives the same bytes."""
    final = disk_path(ctx.layout, verb.image_id)
    if final.exists():
        return ImageDisk(size=final.stat().st_blocks * 512)
    layers = layer_diffs(ctx.layout, verb.layers)
    hex_id = Digest.parse(verb.image_id).encoded
    uuid = "-".join((hex_id[:8], hex_id[8:12], hex_id[12:16], hex_id[16:20], hex_id[20:32]))
    ctx.layout.disks.mkdir(mode=0o711, parents=True, exist_ok=True)
    with scratch.scratch(ctx.layout.disks) as space:
        view, made = space / "view", space / "disk.erofs"
        view.mkdir()
        argv = [
            "mkfs.erofs", "--quiet", "-zlz4", "--preserve-mtime", "-U", uuid,
            str(made), str(view),
        ]  # fmt: skip
        spawn.run_sync(
            argv, timeout=_DISK_SECONDS, env=_DISK_TIMES, before_exec=_disk_jail(view, layers)
        )
        made.chmod(0o644)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        fault("disk.made")
        made.rename(final)
    return ImageDisk(size=final.stat().st_blocks * 512)


def _disk_jail(view: Path, layers: list[Path]) -> Callable[[], None]:
    def enter() -> None:
        private_mounts()
        flags = libc.MS_RDONLY | libc.MS_NODEV | libc.MS_NOSUID | libc.MS_NOEXEC
        mount_overlay(view, layers, flags=flags)
        libc.keep_capabilities(jail.READER)
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)

    return enter


# --- what is there --------------------------------------------------------------------------


def list_store(ctx: Context, _verb: ListStore, _fds: Sequence[int]) -> StoreList:
    """Layers and disks with what they take; a layer's size is in its description."""
    layers: dict[str, int] = {}
    broken = []
    scratch_bytes = 0
    for path in _entries(ctx.layout.layers):
        if path.name.startswith(scratch.PREFIX):
            scratch_bytes += max(0, measure(path))
            continue
        try:
            done = described(path)
        except Internal:
            done = None
        if done is None or not (path / "diff").is_dir():
            broken.append(f"sha256:{path.name}")
        layers[f"sha256:{path.name}"] = (done.disk if done else 0) or max(0, measure(path))
    disks = {}
    for path in _entries(ctx.layout.disks):
        size = max(path.lstat().st_blocks * 512, measure(path))
        if path.name.startswith(scratch.PREFIX):
            scratch_bytes += size
        else:
            disks[f"sha256:{path.name.removesuffix('.erofs')}"] = size
    return StoreList(
        layers=layers, disks=disks, broken=tuple(sorted(broken)), scratch=scratch_bytes
    )


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


# --- leftovers ------------------------------------------------------------------------------


def sweep_images(ctx: Context, sweep: Sweep) -> Iterable[str]:
    """Layers and disks that no image has, and what was being made when a process was killed."""
    wanted = {layer_path(ctx.layout, chain_id).name for chain_id in sweep.layers}
    disks = {disk_path(ctx.layout, image_id).name for image_id in sweep.images}
    for folder, keep, what in (
        (ctx.layout.layers, wanted, "layer"),
        (ctx.layout.disks, disks, "disk"),
    ):
        if not folder.is_dir():
            continue
        for name in scratch.clean(folder):
            yield f"half-made {what} {name}"
        for path in folder.iterdir():
            if path.name.startswith(scratch.PREFIX):
                continue
            if path.name in keep and not is_stale(path):
                continue
            if what == "layer":
                _drop(path)
            else:
                remove_tree(os.fsencode(path))
            yield f"{what} {path.name}"


HANDLERS = (
    on(ApplyLayer, apply_layer),
    on(DropLayers, drop_layers),
    on(MakeImageDisk, make_image_disk),
    on(ListStore, list_store),
)
SWEEPERS = (sweep_images,)
