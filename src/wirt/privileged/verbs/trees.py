"""Reading, writing and measuring the files of guests, in children confined to those files."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from wirt.errors import Invalid, NotFound
from wirt.privileged import check, jail
from wirt.privileged.context import Context, on
from wirt.privileged.copyin import CopyIn
from wirt.privileged.locate import describe, locate
from wirt.privileged.measure import measure
from wirt.privileged.pack import FdSink, FdSource, Packer, own_descriptors
from wirt.privileged.paths import layer_path, volume_path
from wirt.privileged.place import Owner
from wirt.privileged.protocol import (
    Done,
    HostPaths,
    LookAtPaths,
    LookAtTarget,
    ReadTree,
    StatTree,
    Target,
    TreeSource,
    TreeStat,
    TreeUsage,
    Usages,
    WriteTree,
)
from wirt.privileged.target import look_at
from wirt.privileged.view import Views
from wirt.tar.inflate import Inflater
from wirt.tar.reader import Bounds, Reader


def read_tree(ctx: Context, verb: ReadTree, fds: Sequence[int]) -> Done:
    """A path of a guest or an image as a tar stream."""
    with Views(ctx.layout) as views:
        view = views.open(verb.source, write=False)
        proc: list[int] = []

        def enter() -> None:
            proc.append(own_descriptors())
            view.enter()

        return jail.run(
            lambda: _read(verb.path, fds[0], proc[0]),
            Done,
            enter=enter,
            rights=jail.Rights(capabilities=jail.READER, keep=(*view.keep, fds[0])),
        )


def _read(path: str, out: int, proc: int) -> Done:
    place = locate(path)
    packer = Packer(FdSink(out), proc=proc)
    packer.pack(place.leaf, place.parent, place.name)
    packer.finish()
    return Done()


def write_tree(ctx: Context, verb: WriteTree, fds: Sequence[int]) -> Done:
    """A tar stream, maybe compressed, into a directory of a guest."""
    with Views(ctx.layout) as views:
        view = views.open(verb.source, write=True)
        return jail.run(
            partial(_write, verb, fds[0]),
            Done,
            enter=view.enter,
            rights=jail.Rights(capabilities=jail.WRITER, keep=(*view.keep, fds[0])),
        )


def _write(verb: WriteTree, archive: int) -> Done:
    place = locate(verb.path.rstrip("/") + "/")
    root = os.open(place.leaf, os.O_RDONLY | os.O_DIRECTORY, dir_fd=place.parent)
    os.close(place.parent)
    source = Inflater(FdSource(archive), limit=2**62)
    owner = None if verb.copy_uid_gid else Owner(uid=0, gid=0)
    copy = CopyIn(root, strict=verb.no_overwrite_dir_non_dir, owner=owner)
    copy.unpack(Reader(source, bounds=Bounds()))
    source.drain()
    return Done()


def stat_tree(ctx: Context, verb: StatTree, _fds: Sequence[int]) -> TreeStat:
    """lstat of a path as the guest sees it."""
    with Views(ctx.layout) as views:
        view = views.open(verb.source, write=False)
        return jail.run(
            partial(describe, verb.path),
            TreeStat,
            enter=view.enter,
            rights=jail.Rights(capabilities=jail.READER, keep=view.keep),
        )


def look_at_target(ctx: Context, verb: LookAtTarget, _fds: Sequence[int]) -> Target:
    """What layers have where files shall go."""
    if not verb.layers:  # an empty root
        return look_at(verb, empty=True)
    with Views(ctx.layout) as views:
        view = views.open(TreeSource(layers=verb.layers), write=False)
        return jail.run(
            partial(look_at, verb),
            Target,
            enter=view.enter,
            rights=jail.Rights(capabilities=jail.READER, keep=view.keep),
        )


def tree_usage(ctx: Context, verb: TreeUsage, _fds: Sequence[int]) -> Usages:
    """Bytes on disk."""
    layout = ctx.layout
    return Usages(
        volumes={name: measure(volume_path(layout, name) / "_data") for name in verb.volumes},
        layers={name: measure(layer_path(layout, name)) for name in verb.layers},
        guests={name: measure(layout.guest_state(check.guest_id(name))) for name in verb.guests},
    )


def look_at_paths(_ctx: Context, verb: LookAtPaths, _fds: Sequence[int]) -> HostPaths:
    """Whether bind sources exist; the daemon's user may not see them."""
    return HostPaths(paths={path: _kind(path) for path in verb.paths})


def _kind(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise Invalid(f"the bind source {path[:200]!r} is no absolute path")
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        raise NotFound(f"the bind source '{path}' cannot be used: {error.strerror}") from error
    return "directory" if stat.S_ISDIR(mode) else "file"


HANDLERS = (
    on(ReadTree, read_tree),
    on(WriteTree, write_tree),
    on(StatTree, stat_tree),
    on(LookAtTarget, look_at_target),
    on(TreeUsage, tree_usage),
    on(LookAtPaths, look_at_paths),
)
