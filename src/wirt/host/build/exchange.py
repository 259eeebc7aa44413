"""The build cache in a file.

The archive is a tar: ``index.json`` (what it holds), ``blobs/<digest>``, ``mounts/<number>.tar``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence
from pathlib import Path

import msgspec

from wirt.host.build.stock import EDITION, MAX_CONTENTS, Contents, Stock, damaged, read_contents
from wirt.host.pipe import CHUNK, FdReader, FdWriter, Pipes
from wirt.image.store import BlobStore, Lease, Upload
from wirt.model.image import Digest
from wirt.tar import writer
from wirt.tar.member import Member, Type
from wirt.tar.reader import Bounds, Reader

_MOST = 100_000


class Exchange:
    """Writes and reads archives of the cache."""

    def __init__(self, *, pipes: Pipes, store: BlobStore, stock: Stock) -> None:
        self._pipes = pipes
        self._store = store
        self._stock = stock

    # --- out --------------------------------------------------------------------------------

    async def export(
        self, keys: Sequence[str], mounts: Sequence[str]
    ) -> AsyncGenerator[bytes, None]:
        """The archive of these results and cache mounts; what is no longer there is left out."""
        with contextlib.ExitStack() as stack:
            lease = stack.enter_context(self._store.lease())
            steps = await self._stock.steps(keys, lease)
            found = await self._stock.mounts(mounts, stack)
            there = tuple(name for name, _ in found)
            contents = Contents(edition=EDITION, steps=steps, mounts=there)
            files = [upload for _, upload in found]
            async with contextlib.aclosing(
                self._pipes.drain(lambda sink: self._write(sink, contents, files))
            ) as written:
                async for chunk in written:
                    yield chunk

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
                await self._stock.take(contents, mounts)
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
        if contents is None or set(mounts) != set(range(len(contents.mounts))):
            raise damaged("it is not whole")
        held = {str(digest): self._store.size(digest) for digest in lease.held}
        if any(row.blob and held.get(row.blob) != row.blob_size for row in contents.steps):
            raise damaged("a blob is missing, or of another size")
        return contents


def _members(source: FdReader) -> Iterator[tuple[Member, Reader]]:
    reader = Reader(source, bounds=Bounds(members=_MOST))
    for member in reader:
        if member.type is Type.FILE and member.segments is None:
            yield member, reader


def _contents(reader: Reader) -> Contents:
    data = b""
    for chunk in reader.chunks():
        data += chunk
        if len(data) > MAX_CONTENTS:
            raise damaged("its index is too large")
    return read_contents(data)


def _header(name: str, size: int) -> bytes:
    return writer.encode(Member(name=name.encode(), type=Type.FILE, mode=0o644, size=size))


def _write_file(sink: FdWriter, name: str, path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        sink.write(_header(name, size))
        while data := file.read(CHUNK):
            sink.write(data)
        sink.write(writer.padding(size))
