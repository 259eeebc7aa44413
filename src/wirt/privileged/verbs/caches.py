"""The caches of builds: listed, deleted, taken along."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from wirt.privileged import caches, jail, scratch
from wirt.privileged.context import Context, on
from wirt.privileged.copyin import CopyIn
from wirt.privileged.overlay import private_mounts
from wirt.privileged.pack import FdSource, own_descriptors, pack_all
from wirt.privileged.protocol import (
    Caches,
    Done,
    DropCaches,
    ListCaches,
    ReadCache,
    Sweep,
    WriteCache,
)
from wirt.tar.inflate import Inflater
from wirt.tar.reader import Bounds, Reader


def list_caches(ctx: Context, _verb: ListCaches, _fds: Sequence[int]) -> Caches:
    """All of them."""
    return Caches(caches=tuple(caches.every(ctx)))


def drop_caches(ctx: Context, verb: DropCaches, _fds: Sequence[int]) -> Done:
    """Rename away first, so that half a cache never looks like a whole one."""
    for name in verb.names:
        place = caches.path(ctx, name)
        if place.is_dir():
            with scratch.scratch(ctx.layout.caches) as space:
                place.rename(space / "old")
    return Done()


def read_cache(ctx: Context, verb: ReadCache, fds: Sequence[int]) -> Done:
    """Its files, the root's attributes included."""
    data = caches.data(ctx, verb.name)
    proc: list[int] = []

    def enter() -> None:
        proc.append(own_descriptors())
        os.chroot(data)
        os.chdir("/")

    return jail.run(
        lambda: _read(fds[0], proc[0]),
        Done,
        enter=enter,
        rights=jail.Rights(capabilities=jail.READER, keep=(fds[0],)),
    )


def _read(out: int, proc: int) -> Done:
    pack_all(out, proc=proc)
    return Done()


def write_cache(ctx: Context, verb: WriteCache, fds: Sequence[int]) -> Done:
    """A cache that came along with a build's."""
    final = caches.path(ctx, verb.name)
    if final.is_dir():
        return Done()
    with scratch.scratch(ctx.layout.caches) as space:
        made = caches.new(space, verb.key)
        jail.run(
            partial(_write, verb, fds[0]),
            Done,
            enter=partial(_enter, made / "_data"),
            rights=jail.Rights(capabilities=jail.WRITER, keep=(fds[0],), max_file=verb.max_bytes),
        )
        caches.settle(made, final)
    return Done()


def _enter(data: Path) -> None:
    private_mounts()
    os.chroot(data)
    os.chdir("/")


def _write(verb: WriteCache, archive: int) -> Done:
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    source = Inflater(FdSource(archive), limit=verb.max_bytes + 2048 * verb.max_entries)
    copy = CopyIn(root, strict=False, owner=None)
    copy.unpack(Reader(source, bounds=Bounds(members=verb.max_entries)))
    source.drain()
    return Done()


def sweep_caches(ctx: Context, _sweep: Sweep) -> Iterable[str]:
    """Half-made ones."""
    if ctx.layout.caches.is_dir():
        for name in scratch.clean(ctx.layout.caches):
            yield f"half-made cache {name}"


HANDLERS = (
    on(ListCaches, list_caches),
    on(DropCaches, drop_caches),
    on(ReadCache, read_cache),
    on(WriteCache, write_cache),
)
SWEEPERS = (sweep_caches,)
