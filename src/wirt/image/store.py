"""The content-addressed store of blobs: ``blobs/<algorithm>/<hex>``.

A blob is written to ``uploads``, hashed on the way, synced, and only then renamed to its name; so
whatever has a name is whole. Uploads of a killed daemon are removed at the next start. A
:class:`Lease` keeps blobs that no image has yet from being collected; leases live in memory, so
after a crash what they kept is garbage, which the sweep removes.

Everything here blocks: call it from a thread. It may be used from several at once.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wirt.errors import Exhausted, Invalid, NotFound
from wirt.image import space
from wirt.image.budget import STEP, Budget, disk_size
from wirt.image.document import MAX_DOCUMENT
from wirt.model.image import Digest
from wirt.privileged.faults import fault

SMALLEST = 64 * 1024
"""Bytes of the budget that an upload asks for at least."""

_HEAD = 8
_CHECK = 64 * 1024 * 1024


class Upload:
    """A blob being written. Its digest is known once it is sealed.

    ``algorithms``: further hashes to compute besides sha256. ``limit``: bytes. ``head``: the first
    bytes, by which compressions are recognised.
    """

    def __init__(
        self,
        path: Path,
        *,
        algorithms: tuple[str, ...] = (),
        limit: int = 2**62,
        budget: Budget | None = None,
    ) -> None:
        self.path = path
        self._budget = budget or Budget()
        self._granted = 0
        self.size = 0
        self.head = b""
        self.synced = False
        self.digests: tuple[Digest, ...] = ()
        self._limit = limit
        self._unchecked = 0
        self._hashes = {name: hashlib.new(name) for name in ("sha256", *algorithms)}
        self._file: BinaryIO | None = path.open("xb", buffering=0)

    @property
    def digest(self) -> Digest:
        """The sha256 digest of a sealed upload."""
        return self.digests[0]

    def write(self, data: bytes, /) -> None:
        """Append. Raises Invalid beyond the limit, Exhausted on a full disk."""
        assert self._file is not None, "not sealed yet"
        self.size += len(data)
        if len(self.head) < _HEAD:
            self.head += data[: _HEAD - len(self.head)]
        if self.size > self._limit:
            raise Invalid(f"it is larger than {self._limit} bytes", code="archive.too-large")
        if self.size > self._granted:
            self._ask(self.size - self._granted)
        self._unchecked += len(data)
        if self._unchecked >= _CHECK:
            self._unchecked = 0
            if space.room(self.path.parent) <= 0:
                self._budget.free_disk(_CHECK)
                if space.room(self.path.parent) <= 0:
                    raise no_space(self.path)
        for algorithm in self._hashes.values():
            algorithm.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise _full(error, self.path) from error

    def _ask(self, need: int) -> None:
        """Ask for a little more than is needed, so that it happens rarely."""
        more = max(need, min(STEP, self._granted), SMALLEST)
        self._budget.grant(more)
        self._granted += more

    def _settle(self, kept: int) -> None:
        """Give back what was granted beyond ``kept`` bytes."""
        self._budget.give_back(self._granted - kept)
        self._granted = kept

    def counted(self) -> None:
        """What was written is counted elsewhere from now on."""
        self._settle(0)

    def seal(self, *, sync: bool = True) -> None:
        """End writing; ``sync``: onto the disk."""
        if self._file is None:
            return
        try:
            if sync:
                os.fsync(self._file.fileno())
                self.synced = True
        except OSError as error:
            raise _full(error, self.path) from error
        finally:
            self._file.close()
            self._file = None
            self._settle(self.size)
        self.digests = tuple(Digest(name, h.hexdigest()) for name, h in self._hashes.items())

    def hash_again(self, algorithm: str) -> None:
        """Another digest of a sealed upload, for an algorithm that was not announced."""
        if all(digest.algorithm != algorithm for digest in self.digests):
            with self.path.open("rb") as file:
                found = hashlib.file_digest(file, algorithm).hexdigest()
            self.digests = (*self.digests, Digest(algorithm, found))

    def discard(self) -> None:
        """Remove it, if it was not committed."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.path.unlink(missing_ok=True)
        self._settle(0)


class Lease:
    """Digests that must stay although no image has them yet. A context manager."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._held: set[Digest] = set()

    def hold(self, digest: Digest) -> None:
        """Keep this digest as long as the lease lives."""
        if digest not in self._held:
            self._held.add(digest)
            self._store.add_holder(digest, 1)

    @property
    def held(self) -> tuple[Digest, ...]:
        """What it keeps."""
        return tuple(self._held)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """Let all go. Idempotent."""
        for digest in self._held:
            self._store.add_holder(digest, -1)
        self._held.clear()


class BlobStore:
    """Blobs below ``blobs``, half-written ones in ``uploads``."""

    def __init__(self, blobs: Path, uploads: Path, *, budget: Budget | None = None) -> None:
        self._budget = budget or Budget()
        self._blobs = blobs
        self._uploads = uploads
        self._lock = threading.Lock()
        self._holders: Counter[Digest] = Counter()
        self._collections: list[set[Digest]] = []

    def open_store(self) -> None:
        """Make the directories; forget half-written blobs of an earlier life."""
        for path in (self._blobs / "sha256", self._blobs / "sha512", self._uploads):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._uploads.iterdir():
            directory = path.is_dir() and not path.is_symlink()
            shutil.rmtree(path) if directory else path.unlink()

    def lease(self) -> Lease:
        """Keep blobs from collection until they belong to an image."""
        return Lease(self)

    def add_holder(self, digest: Digest, count: int) -> None:
        """Count leases; for :class:`Lease`."""
        with self._lock:
            self._holders[digest] += count
            if not self._holders[digest]:
                del self._holders[digest]
            for touched in self._collections:
                touched.add(digest)

    @contextlib.contextmanager
    def upload(self, *, algorithms: tuple[str, ...] = (), limit: int = 2**62) -> Iterator[Upload]:
        """A new upload, discarded at the end unless committed."""
        upload = self.new_upload(algorithms=algorithms, limit=limit)
        try:
            yield upload
        finally:
            upload.discard()

    def new_upload(self, *, algorithms: tuple[str, ...] = (), limit: int = 2**62) -> Upload:
        """A new upload, which the caller commits or discards."""
        try:
            return Upload(
                self._uploads / secrets.token_hex(16),
                algorithms=algorithms,
                limit=limit,
                budget=self._budget,
            )
        except OSError as error:
            raise _full(error, self._uploads) from error

    def commit(
        self, upload: Upload, lease: Lease, *, digest: Digest | None = None, size: int | None = None
    ) -> Digest:
        """Give an upload its name and hold it. ``digest`` and ``size``: what they must be.

        Raises Invalid when the content is another; then nothing is stored.
        """
        upload.seal()
        if not upload.synced:
            _sync(upload.path)
        if size is not None and upload.size != size:
            raise Invalid(
                f"the blob {digest or upload.digest} has {upload.size} bytes instead of {size}",
                code="blob.size",
            )
        if digest is not None:
            upload.hash_again(digest.algorithm)
        if digest is not None and digest not in upload.digests:
            raise Invalid(
                f"the content of the blob {digest} is another: it has the digest {upload.digest}",
                hint="it is damaged or forged: get it again",
                code="blob.digest",
            )
        name = digest or upload.digest
        lease.hold(name)
        final = self.path(name)
        try:
            grown = disk_size(upload.path) - disk_size(final)
            fault("store.rename")
            upload.path.rename(final)
            fault("store.renamed")
            _sync(final.parent)
        except OSError as error:
            raise _full(error, final) from error
        self._budget.grew(grown)
        upload.counted()
        return name

    def put(self, data: bytes, lease: Lease) -> Digest:
        """Store a small document."""
        with self.upload() as upload:
            upload.write(data)
            return self.commit(upload, lease)

    def path(self, digest: Digest) -> Path:
        """Where the blob is or would be; a :class:`Digest` is always a safe name."""
        return self._blobs / digest.algorithm / digest.encoded

    def open(self, digest: Digest) -> BinaryIO:
        """The blob for reading. Raises NotFound."""
        try:
            return self.path(digest).open("rb", buffering=0)
        except FileNotFoundError:
            raise _missing(digest) from None

    def room(self) -> int:
        """Bytes that may still be written (:func:`wirt.image.space.room`)."""
        return space.room(self._blobs)

    def capacity(self) -> int:
        """Bytes of the whole file system."""
        return space.capacity(self._blobs)

    def size(self, digest: Digest) -> int:
        """Bytes of a blob. Raises NotFound."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def document(self, digest: Digest) -> bytes:
        """A small blob, whole and verified. Raises NotFound, Invalid."""
        with self.open(digest) as file:
            data = file.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise Invalid(f"the document {digest} is too large", code="image.malformed")
        if hashlib.new(digest.algorithm, data).hexdigest() != digest.encoded:
            raise Invalid(f"the blob {digest} is damaged on the disk", code="blob.damaged")
        return data

    @contextlib.contextmanager
    def collection(self) -> Iterator[Collection]:
        """Delete blobs that nobody wants. Enter it *before* asking who wants what."""
        touched: set[Digest] = set()
        with self._lock:
            self._collections.append(touched)
        try:
            yield Collection(self, touched)
        finally:
            with self._lock:
                self._collections = [one for one in self._collections if one is not touched]

    def remove(self, digest: Digest, touched: set[Digest]) -> bool:
        """For :class:`Collection`."""
        with self._lock:
            if self._holders.get(digest) or digest in touched:
                return False
            self._budget.grew(-disk_size(self.path(digest)))
            self.path(digest).unlink(missing_ok=True)
            fault("store.removed")
            return True

    def held(self, digest: Digest) -> bool:
        """Whether a lease keeps this blob now."""
        with self._lock:
            return bool(self._holders.get(digest))

    def strangers(self) -> list[Path]:
        """Files among the blobs whose names are no digests."""
        known = {self.path(digest) for digest, _ in self.all()}
        return sorted(path for path in self._blobs.glob("*/*") if path not in known)

    def all(self) -> Iterator[tuple[Digest, os.stat_result]]:
        """Every blob with what the file system says of it, in no order. Files that are no blobs
        (strangers in the directory) are left out."""
        for folder in self._blobs.iterdir():
            for entry in os.scandir(folder):
                with contextlib.suppress(Invalid, FileNotFoundError):
                    digest = Digest.parse(f"{folder.name}:{entry.name}")
                    yield digest, entry.stat(follow_symlinks=False)


class Collection:
    """Deletes blobs, but none on which a lease is or was held since the collection began: the row
    that wants it may have been written after the collection asked."""

    def __init__(self, store: BlobStore, touched: set[Digest]) -> None:
        self._store = store
        self._touched = touched

    def remove(self, digest: Digest) -> bool:
        """Whether the blob is gone. Idempotent."""
        return self._store.remove(digest, self._touched)

    def touched(self, digest: Digest) -> bool:
        """Whether somebody held a lease on it since the collection began."""
        return digest in self._touched


def _missing(digest: Digest) -> NotFound:
    return NotFound(
        f"the blob {digest} is not there",
        hint="load or pull the image again",
        code="blob.missing",
    )


def no_space(path: Path) -> Exhausted:
    """The error for a disk that is full, or would be."""
    return Exhausted(
        "no space left on the disk for images",
        hint=f"remove images that are not needed, or free space below {path.parent}",
        code="store.full",
    )


def _full(error: OSError, path: Path) -> Exception:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return no_space(path)
    return error


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
