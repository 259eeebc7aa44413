"""Archives of images, read once from a stream: every member becomes an upload, names only say
which is which. Two forms are understood, and archives that are both at once (what Docker writes
since version 25): see :mod:`archive_docker` and :mod:`archive_oci`.

Nothing is stored before all of it was read and made sense.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from wirt.errors import Invalid
from wirt.image.catalog import Document
from wirt.image.manifest import Descriptor
from wirt.image.store import BlobStore, Upload
from wirt.model.image import Digest
from wirt.tar.inflate import Inflater
from wirt.tar.member import Type, show
from wirt.tar.reader import Bounds, Readable, Reader

MAX_MEMBERS = 20_000
"""Entries of an archive: three for each of a few thousand layers."""

_MAX_LINKS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One image of an archive.

    ``layers``: (upload, what its manifest says of it), base first. ``references``: normalised
    names. ``manifest``: its manifest, or None when the archive has none. ``target``: the document
    that its names mean, the manifest or an index above it. ``documents`` and ``members``: all
    documents that come with it (other platforms, referrers) and all content, parts first.
    """

    config: Upload
    layers: tuple[tuple[Upload, Descriptor | None], ...]
    references: tuple[str, ...] = ()
    manifest: Document | None = None
    target: Digest | None = None
    documents: tuple[Document, ...] = ()
    members: tuple[tuple[Digest, Upload], ...] = ()


class Archive:
    """The members of an archive by cleaned name."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._files: dict[str, Upload] = {}
        self._links: dict[str, str] = {}

    def read(self, source: Readable, *, limit: int) -> None:
        """Take all members in. ``limit``: bytes of the uncompressed archive."""
        stream = Inflater(source, limit=limit)
        reader = Reader(stream, bounds=Bounds(members=MAX_MEMBERS))
        for member in reader:
            name = clean_name(member.name)
            if member.type is Type.FILE:
                if member.segments is not None:
                    raise Invalid(f"'{show(member.name)}' is sparse", code="archive.malformed")
                self._take(name, reader)
            elif member.type in {Type.SYMLINK, Type.HARD_LINK}:
                link = member.link.decode("utf-8", "replace")
                base = posixpath.dirname(name) if member.type is Type.SYMLINK else ""
                self._links[name] = posixpath.normpath(posixpath.join(base, link))
            elif member.type is not Type.DIRECTORY:
                raise Invalid(
                    f"'{show(member.name)}' has no place in an archive of images",
                    code="archive.malformed",
                )
        stream.drain()

    def _take(self, name: str, reader: Reader) -> None:
        algorithms = ("sha512",) if name.startswith("blobs/sha512/") else ()
        upload = self._store.new_upload(algorithms=algorithms)
        previous = self._files.pop(name, None)
        if previous is not None:
            previous.discard()
        self._files[name] = upload
        for chunk in reader.chunks():
            upload.write(chunk)
        upload.seal(sync=False)

    def discard(self) -> None:
        """Remove what was not committed."""
        for upload in self._files.values():
            upload.discard()

    def find(self, name: str) -> Upload | None:
        """A member by its name in the archive's own documents, links followed."""
        name = clean_name(name.encode("utf-8", "surrogatepass"))
        for _ in range(_MAX_LINKS):
            if name in self._files:
                return self._files[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None

    def get(self, name: str) -> Upload:
        """As :meth:`find`; raises Invalid when it is not there."""
        upload = self.find(name)
        if upload is None:
            raise Invalid(
                f"the archive lacks '{name[:200]}', which its own list names",
                hint="it may be cut short: get it again",
                code="archive.incomplete",
            )
        return upload

    @staticmethod
    def text(upload: Upload, limit: int) -> bytes:
        """A small member's content. Raises Invalid for a large one."""
        if upload.size > limit:
            raise Invalid(
                f"a document of the archive has {upload.size} bytes, {limit} are allowed",
                code="image.malformed",
            )
        return upload.path.read_bytes()


def clean_name(name: bytes) -> str:
    """A member's name for comparing: without "./", never used as a path."""
    return posixpath.normpath("/" + name.decode("utf-8", "replace")).lstrip("/")


@contextlib.contextmanager
def opened(store: BlobStore, source: Readable, *, limit: int) -> Iterator[Archive]:
    """Read an archive; its members are discarded at the end unless they were committed."""
    archive = Archive(store)
    try:
        archive.read(source, limit=limit)
        yield archive
    finally:
        archive.discard()
