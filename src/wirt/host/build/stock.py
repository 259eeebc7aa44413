"""What of the build cache travels: results of steps with their blobs, and cache mounts.

Who imports a cache trusts it as the Dockerfile's author: it says which inputs gave which layer.
That the bytes are those that it names is checked when they come, and again when a layer is
unpacked.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Mapping, Sequence

import msgspec

from wirt.aio import beside
from wirt.errors import Conflict, Invalid, NotFound
from wirt.host.build.caches import BuildCaches, name_of
from wirt.host.layers import Limits
from wirt.host.pipe import CHUNK, Pipes
from wirt.image.manifest import OCI_LAYER
from wirt.image.store import BlobStore, Lease, Upload
from wirt.model.image import Digest
from wirt.state.build_cache import BuildCacheTable, CachedStep

EDITION = 1
GZIP = OCI_LAYER + "+gzip"
"""What the layers of results are."""
MAX_CONTENTS = 64 * 1024**2
"""Bytes of the list of what a cache holds."""
_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MOST_BYTES = 1 << 60


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a cache holds. ``mounts``: ids of cache mounts, in the order of their archives."""

    edition: int
    steps: tuple[CachedStep, ...]
    mounts: tuple[str, ...] = ()


def read_contents(data: bytes) -> Contents:
    """A stranger's list. Raises Invalid for one that makes no sense."""
    try:
        found = msgspec.json.decode(data, type=Contents)
        for row in found.steps:
            msgspec.json.decode(row.inputs, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise damaged(str(error)) from error
    if found.edition != EDITION:
        raise damaged(f"it is of the edition {found.edition}, this wirt reads {EDITION}")
    for row in found.steps:
        if not _KEY.fullmatch(row.key) or len({bool(t) for t in _digests(row)}) != 1:
            raise damaged("a result makes no sense")
        if not (0 <= row.size <= _MOST_BYTES and 0 <= row.blob_size <= _MOST_BYTES):
            raise damaged("a result has a size that makes no sense")
        for text in _digests(row):
            if text:
                Digest.parse(text)
    return found


def _digests(row: CachedStep) -> tuple[str, str, str]:
    """All are there, or none."""
    return row.blob, row.diff_id, row.chain_id


def damaged(why: str) -> Invalid:
    """The error for a cache that is not what it should be."""
    return Invalid(
        f"this is no build cache: {why[:200]}",
        hint="it is written by wirt build --cache-to",
        code="build.cache-archive",
    )


class Stock:
    """Takes from this host's build cache, and adds to it."""

    def __init__(
        self, *, pipes: Pipes, store: BlobStore, table: BuildCacheTable, caches: BuildCaches
    ) -> None:
        self._pipes = pipes
        self._store = store
        self._table = table
        self._caches = caches
        self.limits = Limits()

    async def steps(self, keys: Sequence[str], lease: Lease) -> tuple[CachedStep, ...]:
        """These results, their blobs held by ``lease``; what is no longer there is left out."""
        found = [row for key in dict.fromkeys(keys) if (row := await self._table.get(key))]
        return tuple(row for row in found if self._held(row, lease))

    def _held(self, row: CachedStep, lease: Lease) -> bool:
        if not row.blob:
            return True
        blob = Digest.parse(row.blob)
        lease.hold(blob)
        return self._store.path(blob).exists()

    async def mounts(
        self, names: Sequence[str], stack: contextlib.ExitStack
    ) -> tuple[tuple[str, Upload], ...]:
        """The files of cache mounts as sealed archives, which ``stack`` discards; those that there
        are not are left out."""
        found: list[tuple[str, Upload]] = []
        for name in dict.fromkeys(names):
            made = await self._mount(name)
            if made is not None:
                stack.callback(made.discard)
                found.append((name, made))
        return tuple(found)

    async def _mount(self, mount: str) -> Upload | None:
        upload = await self._pipes.make(self._store.new_upload, Upload.discard)
        reader, write_end = os.pipe()
        try:
            async with beside(self._caches.export(mount, write_end)) as task:
                task.add_done_callback(lambda _: os.close(write_end))
                await self._pipes.call(lambda: _copy(reader, upload))
                await task
        except NotFound:
            upload.discard()
            return None
        except BaseException:
            upload.discard()
            raise
        finally:
            os.close(reader)
        return upload

    async def take(self, contents: Contents, mounts: Mapping[int, Upload]) -> None:
        """Add results, whose blobs are here and held, and cache mounts. What is known here already
        stays as it is: what strangers say replaces nothing."""
        for row in contents.steps:
            await self.add(row)
        for number, mount in enumerate(contents.mounts):
            await self.restore(mount, mounts[number])

    async def add(self, row: CachedStep) -> None:
        """Add a result, whose blob is here and held, unless one of its key is known."""
        if await self._table.get(row.key) is None:
            await self._table.put(row, now=time.time_ns())

    async def has_mount(self, mount: str) -> bool:
        """Whether there is a cache mount of this id."""
        return name_of(mount) in {one.name for one in await self._caches.all()}

    async def restore(self, mount: str, upload: Upload) -> None:
        """Make a cache mount of an archive, unless there is one or steps are using it."""
        with upload.path.open("rb") as file, contextlib.suppress(Conflict):
            await self._caches.restore(
                mount,
                file.fileno(),
                max_bytes=self.limits.layer,
                max_entries=self.limits.entries,
            )


def _copy(reader: int, upload: Upload) -> None:
    while data := os.read(reader, CHUNK):
        upload.write(data)
    upload.seal(sync=False)
