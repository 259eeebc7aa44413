"""The build cache in a file: results of steps with their blobs, and cache mounts.

The archive is a tar: ``index.json`` (what it holds), ``blobs/<digest>``, ``mounts/<number>.tar``.
Who imports one trusts it as the Dockerfile's author: it says which inputs gave which layer. That
the bytes are those that it names is checked here, and again when a layer is unpacked.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence
from pathlib import Path

import msgspec

from wirt.aio import beside
from wirt.errors import Conflict, Invalid, NotFound
from wirt.host.build.caches import BuildCaches
from wirt.host.layers import Limits
from wirt.host.pipe import CHUNK, FdReader, FdWriter, Pipes
from wirt.image.store import BlobStore, Lease, Upload
from wirt.model.image import Digest
from wirt.state.build_cache import BuildCacheTable, CachedStep
from wirt.tar import writer
from wirt.tar.member import Member, Type
from wirt.tar.reader import Bounds, Reader

EDITION = 1
_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_INDEX = 64 * 1024**2
_MOST = 100_000


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """``index.json``. ``mounts``: ids of cache mounts, in the order of their archives."""

    edition: int
    steps: tuple[CachedStep, ...]
    mounts: tuple[str, ...] = ()


class Exchange:
    """Writes and reads archives of the cache."""

    def __init__(
        self, *, pipes: Pipes, store: BlobStore, table: BuildCacheTable, caches: BuildCaches
    ) -> None:
        self._pipes = pipes
        self._store = store
        self._table = table
        self._caches = caches
        self._limits = Limits()

    # --- out --------------------------------------------------------------------------------

    async def export(
        self, keys: Sequence[str], mounts: Sequence[str]
    ) -> AsyncGenerator[bytes, None]:
        """The archive of these results and cache mounts; what is no longer there is left out."""
        with contextlib.ExitStack() as stack:
            lease = stack.enter_context(self._store.lease())
            found = [row for key in dict.fromkeys(keys) if (row := await self._table.get(key))]
            steps = [row for row in found if self._held(row, lease)]
            files: list[Upload] = []
            there: list[str] = []
            for mount in dict.fromkeys(mounts):
                made = await self._mount(mount)
                if made is not None:
                    stack.callback(made.discard)
                    files.append(made)
                    there.append(mount)
            contents = Contents(edition=EDITION, steps=tuple(steps), mounts=tuple(there))
            async with contextlib.aclosing(
                self._pipes.drain(lambda sink: self._write(sink, contents, files))
            ) as written:
                async for chunk in written:
                    yield chunk

    def _held(self, row: CachedStep, lease: Lease) -> bool:
        if not row.blob:
            return True
        blob = Digest.parse(row.blob)
        lease.hold(blob)
        return self._store.path(blob).exists()

    async def _mount(self, mount: str) -> Upload | None:
        """The files of a cache mount as a sealed upload; None when there is no such mount."""
        upload = await self._pipes.call(self._store.new_upload)
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

    def _write(self, sink: FdWriter, contents: Contents, mounts: Sequence[Upload]) -> None:
        data = msgspec.json.encode(contents)
        sink.write(_header("index.json", len(data)) + data + writer.padding(len(data)))
        for blob in dict.fromkeys(row.blob for row in contents.steps if row.blob):
            _write_file(sink, f"blobs/{blob}", self._store.path(Digest.parse(blob)))
        for number, upload in enumerate(mounts):
            _write_file(sink, f"mounts/{number}.tar", upload.path)
        sink.write(writer.END)

    # --- in ---------------------------------------------------------------------------------

    async def take(self, body: AsyncIterable[bytes]) -> tuple[int, int]:
        """Take an archive in; how many results and mounts it had. Raises Invalid for one that is
        damaged, and then nothing of it counts."""
        with self._store.lease() as lease:
            mounts: dict[int, Upload] = {}
            try:
                contents = await self._pipes.feed(
                    body, lambda source: self._read(source, lease, mounts)
                )
                now = time.time_ns()
                for row in contents.steps:
                    await self._table.put(row, now=now)
                for number, mount in enumerate(contents.mounts):
                    await self._restore(mount, mounts[number])
            finally:
                for upload in mounts.values():
                    await self._pipes.call(upload.discard)
        return len(contents.steps), len(contents.mounts)

    def _read(self, source: FdReader, lease: Lease, mounts: dict[int, Upload]) -> Contents:
        contents: Contents | None = None
        for member, reader in _members(source):
            name = member.name.decode("utf-8", "replace")
            folder, _, rest = name.partition("/")
            if name == "index.json":
                contents = _contents(reader)
            elif folder == "blobs":
                digest = Digest.parse(rest)
                with self._store.upload() as upload:
                    for chunk in reader.chunks():
                        upload.write(chunk)
                    self._store.commit(upload, lease, digest=digest)
            elif folder == "mounts" and rest.removesuffix(".tar").isdecimal():
                upload = self._store.new_upload()
                mounts[int(rest.removesuffix(".tar")[:6])] = upload
                for chunk in reader.chunks():
                    upload.write(chunk)
                upload.seal(sync=False)
        if contents is None or len(mounts) != len(contents.mounts):
            raise _damaged("it is not whole")
        held = {str(digest) for digest in lease.held}
        if any(row.blob and row.blob not in held for row in contents.steps):
            raise _damaged("a blob is missing")
        return contents

    async def _restore(self, mount: str, upload: Upload) -> None:
        with upload.path.open("rb") as file, contextlib.suppress(Conflict):
            await self._caches.restore(
                mount,
                file.fileno(),
                max_bytes=self._limits.layer,
                max_entries=self._limits.entries,
            )


def _members(source: FdReader) -> Iterator[tuple[Member, Reader]]:
    reader = Reader(source, bounds=Bounds(members=_MOST))
    for member in reader:
        if member.type is Type.FILE and member.segments is None:
            yield member, reader


def _contents(reader: Reader) -> Contents:
    data = b""
    for chunk in reader.chunks():
        data += chunk
        if len(data) > _MAX_INDEX:
            raise _damaged("its index is too large")
    try:
        found = msgspec.json.decode(data, type=Contents)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(str(error)) from error
    if found.edition != EDITION:
        raise _damaged(f"it is of the edition {found.edition}, this wirt reads {EDITION}")
    for row in found.steps:
        if not _KEY.fullmatch(row.key) or bool(row.blob) != bool(row.diff_id):
            raise _damaged("a result makes no sense")
        for text in (row.blob, row.diff_id, row.chain_id):
            if text:
                Digest.parse(text)
    return found


def _damaged(why: str) -> Invalid:
    return Invalid(
        f"this is no archive of a build cache: {why[:200]}",
        hint="it is written by --cache-to type=local,dest=DIR",
        code="build.cache-archive",
    )


def _copy(reader: int, upload: Upload) -> None:
    while data := os.read(reader, CHUNK):
        upload.write(data)
    upload.seal(sync=False)


def _header(name: str, size: int) -> bytes:
    return writer.encode(Member(name=name.encode(), type=Type.FILE, mode=0o644, size=size))


def _write_file(sink: FdWriter, name: str, path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        sink.write(_header(name, size))
        while data := file.read(CHUNK):
            sink.write(data)
        sink.write(writer.padding(size))
