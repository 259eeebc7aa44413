"""The caches of builds: directories that outlive a step, each with a note of what it is called.

A cache is made whole or not at all (scratch directory, then rename); which ones there are is
what the directory says, so nothing else must be kept in step with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from wirt.errors import Invalid, NotFound
from wirt.privileged import scratch
from wirt.privileged.context import Context
from wirt.privileged.faults import fault
from wirt.privileged.fill import fill_volume
from wirt.privileged.measure import measure
from wirt.privileged.protocol import Cache, StepSource

_NAME = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KEY = 4096


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is noted of a cache."""

    key: str


def path(ctx: Context, name: str) -> Path:
    """A cache's directory. Raises Invalid for what is no name."""
    if not _NAME.fullmatch(name):
        raise Invalid(f"invalid cache name {name[:80]!r}")
    return ctx.layout.caches / name


def data(ctx: Context, name: str) -> Path:
    """Its files. Raises NotFound."""
    place = path(ctx, name) / "_data"
    if not place.is_dir():
        raise NotFound(f"there is no cache {name[:12]}", code="cache.not-found")
    return place


def exists(ctx: Context, name: str) -> bool:
    """Whether it is there."""
    return (path(ctx, name) / "_data").is_dir()


def ensure(ctx: Context, wish: StepSource, tree: Path | None) -> Path:
    """The files of the cache that ``wish`` names; a new one is filled from ``tree``, if given."""
    final = path(ctx, wish.cache)
    if not final.is_dir():
        with scratch.scratch(ctx.layout.caches) as space:
            made = new(space, wish.key)
            os.chown(made / "_data", wish.uid, wish.gid)
            (made / "_data").chmod(wish.mode & 0o7777)
            if tree is not None:
                _fill(made, tree, wish.source)
            fault("cache.made")
            settle(made, final)
    os.utime(final)
    return final / "_data"


def new(space: Path, key: str) -> Path:
    """An empty cache in a scratch directory."""
    if len(key) > _KEY:
        raise Invalid(f"a cache's id may have {_KEY} characters", code="build.mount")
    made = space / "cache"
    made.mkdir(mode=0o700)
    (made / "_data").mkdir()
    (made / "about").write_bytes(msgspec.json.encode(About(key=key)))
    return made


def settle(made: Path, final: Path) -> None:
    """Give it its name, unless another process was faster."""
    try:
        made.rename(final)
    except OSError:
        if not final.is_dir():
            raise


def _fill(made: Path, tree: Path, source: str) -> None:
    root = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fill_volume(made, root, source)
    finally:
        os.close(root)


def every(ctx: Context) -> Iterator[Cache]:
    """All caches, by name."""
    if not ctx.layout.caches.is_dir():
        return
    for place in sorted(ctx.layout.caches.iterdir()):
        if not _NAME.fullmatch(place.name):
            continue
        about = msgspec.json.decode((place / "about").read_bytes(), type=About)
        yield Cache(
            name=place.name,
            key=about.key,
            size=measure(place / "_data"),
            used_at=place.stat().st_mtime_ns,
        )
