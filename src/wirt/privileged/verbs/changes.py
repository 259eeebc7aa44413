"""What containers changed: as a layer, as a list, and their whole root as an archive."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from wirt.errors import Conflict
from wirt.privileged import check, facts, jail, scratch, userns
from wirt.privileged.changes import Comparison, Found
from wirt.privileged.changeview import LOWER, MERGED, UPPER, ChangeView
from wirt.privileged.context import Context, on
from wirt.privileged.faults import fault
from wirt.privileged.layertar import HashingSink, LayerTar
from wirt.privileged.measure import measure
from wirt.privileged.pack import FdSink, Packer, own_descriptors
from wirt.privileged.paths import layer_diffs, layer_path
from wirt.privileged.protocol import (
    AppliedLayer,
    Done,
    ExportTree,
    ListChanges,
    PackChanges,
    PackedChanges,
)
from wirt.privileged.unsynced import ABOUT, described, mark
from wirt.privileged.view import ready_places

A = TypeVar("A")


def pack_changes(ctx: Context, verb: PackChanges, fds: Sequence[int]) -> PackedChanges:
    """A guest's writable layer as an archive, and maybe from then on as a layer."""
    state = ctx.layout.guest_state(check.guest_id(verb.id))
    if verb.adopt:
        _must_not_run(ctx, verb.id)
    layers = layer_diffs(ctx.layout, verb.layers)
    with _view(ctx, state / "upper", layers, verb.idmap, settle=verb.adopt) as view:
        done = _jailed(view, PackedChanges, fds[0], partial(_pack, verb, view, fds[0]))
    fault("changes.packed")
    if not verb.adopt or not done.exact:
        return done
    return _adopt(ctx, verb, done, layers)


def _pack(verb: PackChanges, view: ChangeView, out: int, proc: int) -> PackedChanges:
    sink = HashingSink(FdSink(out))
    tar = LayerTar(
        sink,
        proc=proc,
        epoch=verb.epoch,
        settle=verb.adopt,
        max_bytes=verb.max_bytes,
        max_entries=verb.max_entries,
    )
    Comparison(tar, whole=view.whole).run(UPPER, LOWER, MERGED)
    tar.finish()
    sink.flush()
    return PackedChanges(diff_id=sink.digest, size=tar.size, entries=tar.entries, exact=tar.exact)


def _adopt(
    ctx: Context, verb: PackChanges, done: PackedChanges, layers: list[Path]
) -> PackedChanges:
    """Make the writable layer the layer that it is; it is not on the disk for good yet."""
    chain_id = done.diff_id
    if verb.layers:
        text = f"{verb.layers[-1]} {done.diff_id}"
        chain_id = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    final = layer_path(ctx.layout, chain_id)
    upper = ctx.layout.guest_state(verb.id) / "upper"
    if described(final) is not None:
        return msgspec.structs.replace(done, chain_id=chain_id)
    if not upper.is_dir():
        return done
    with scratch.scratch(ctx.layout.layers) as space:
        layer = space / "layer"
        layer.mkdir()
        upper.rename(layer / "diff")
        fault("changes.taken")
        time = layers[-1].stat().st_mtime_ns if layers else 0
        os.utime(layer / "diff", ns=(time, time))
        mark(layer)
        disk = measure(layer) + ABOUT
        about = AppliedLayer(diff_id=done.diff_id, size=done.size, entries=done.entries, disk=disk)
        (layer / "about").write_bytes(msgspec.json.encode(about))
        try:
            layer.rename(final)
        except OSError:
            if described(final) is None:  # else another process was faster
                raise
        fault("changes.adopted")
    return msgspec.structs.replace(done, chain_id=chain_id, disk=disk)


def _must_not_run(ctx: Context, guest_id: str) -> None:
    keeper = facts.keeper(ctx.layout, guest_id)
    if keeper is not None:
        os.close(keeper)
        raise Conflict(f"guest {guest_id[:12]} runs", code="guest.running")


# --- lists ------------------------------------------------------------------------------------


def list_changes(ctx: Context, verb: ListChanges, fds: Sequence[int]) -> Done:
    """What differs, line by line."""
    layers = layer_diffs(ctx.layout, verb.layers)
    upper: Path | list[Path]
    if verb.id:
        upper = ctx.layout.guest_state(check.guest_id(verb.id)) / "upper"
    else:
        upper = layer_diffs(ctx.layout, verb.other)
    with _view(ctx, upper, layers, verb.idmap) as view:
        return _jailed(view, Done, fds[0], lambda _: _list(view, fds[0]))


def _list(view: ChangeView, out: int) -> Done:
    sink = HashingSink(FdSink(out))
    Comparison(_Lines(sink), whole=view.whole).run(UPPER, LOWER, MERGED)
    sink.flush()
    return Done()


@dataclass(frozen=True, slots=True)
class _Lines:
    """Writes changes as JSON lines; a name that is no UTF-8 keeps its bytes as surrogates."""

    sink: HashingSink

    def removed(self, name: bytes, before: os.stat_result) -> None:
        self._line("D", name, 0, _size(before))

    def directory(self, found: Found, fd: int) -> None:
        del fd
        if found.name != b".":
            self.other(found)

    def other(self, found: Found) -> None:
        kind = "A" if found.before is None else "C"
        self._line(kind, found.name, _size(found.status), _size(found.before))

    def _line(self, kind: str, name: bytes, size: int, before: int) -> None:
        path = "/" + name.decode("utf-8", "surrogateescape")
        self.sink.write(json.dumps([kind, path, size, before]).encode() + b"\n")


def _size(status: os.stat_result | None) -> int:
    return status.st_size if status is not None and stat.S_ISREG(status.st_mode) else 0


# --- the whole root ---------------------------------------------------------------------------


def export_tree(ctx: Context, verb: ExportTree, fds: Sequence[int]) -> Done:
    """The root as one archive."""
    upper = ctx.layout.guest_state(check.guest_id(verb.id)) / "upper"
    layers = layer_diffs(ctx.layout, verb.layers)
    with _view(ctx, upper, layers, verb.idmap) as view:
        return _jailed(view, Done, fds[0], lambda proc: _export(fds[0], proc))


def _export(out: int, proc: int) -> Done:
    packer = Packer(FdSink(out), proc=proc)
    root = os.open(MERGED, os.O_RDONLY | os.O_DIRECTORY)
    for leaf in sorted(os.fsencode(name) for name in os.listdir(root)):  # noqa: PTH208 - a descriptor
        packer.pack(leaf, root, leaf)
    packer.finish()
    return Done()


# --- common -----------------------------------------------------------------------------------


@contextlib.contextmanager
def _view(
    ctx: Context,
    upper: Path | list[Path],
    layers: list[Path],
    idmap: int | None,
    *,
    settle: bool = False,
) -> Iterator[ChangeView]:
    """The views; a guest that never ran has changed nothing."""
    if isinstance(upper, Path) and not upper.is_dir():
        upper = layers
    spot, ids, _ = ready_places(ctx.layout)
    users = None if idmap is None else userns.make(idmap, network=False).user
    try:
        yield ChangeView(spot=spot, ids=ids, layers=layers, upper=upper, users=users, settle=settle)
    finally:
        if users is not None:
            os.close(users)


def _jailed(view: ChangeView, kind: type[A], out: int, work: Callable[[int], A]) -> A:
    proc: list[int] = []

    def enter() -> None:
        proc.append(own_descriptors())
        view.enter()

    rights = jail.READER | (jail.CAP_FOWNER if view.settle else 0)
    keep = (out,) if view.users is None else (out, view.users)
    return jail.run(
        lambda: work(proc[0]),
        kind,
        enter=enter,
        rights=jail.Rights(capabilities=rights, keep=keep),
    )


HANDLERS = (
    on(PackChanges, pack_changes),
    on(ListChanges, list_changes),
    on(ExportTree, export_tree),
)
