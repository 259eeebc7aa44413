"""Files that a build copies from, as an index over one file that holds all their bytes.

The build context, the files of another stage, an unpacked local archive and a download are all
such trees, so there is one place that finds, compares and copies files. Nothing of them is ever
unpacked in the daemon: a symlink is a text here, and following one is arithmetic on names that
ends at the tree's own root.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import TracebackType

from wirt.errors import Invalid, NotFound
from wirt.image.store import BlobStore, Upload
from wirt.model.ignore import is_wild, name_pattern
from wirt.tar.member import Member, Type, show
from wirt.tar.reader import Bounds, Readable, Reader

MAX_LINKS = 40
"""Symlinks followed for one path, as in the kernel (path_resolution(7))."""
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file. ``path``: relative to the root of the tree, ``""`` for the root itself, bytes that
    are no UTF-8 as surrogates. ``digest``: sha256 of a regular file's content, else ``""``.

    ``link``: a symlink's target, or for a further name of a file the path of its first.
    ``offset``: where the content begins in the tree's file of bytes. ``mtime``: nanoseconds.
    """

    path: str
    type: Type
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    offset: int = 0
    digest: str = ""
    link: str = ""
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def name(self) -> str:
        """The last component."""
        return self.path.rpartition("/")[2]


_ROOT = Entry(path="", type=Type.DIRECTORY, mode=0o755)


class Tree:
    """An index of files by path, with their bytes. A context manager: the bytes go at its end."""

    def __init__(self, bytes_at: Upload | None = None) -> None:
        self._bytes = bytes_at
        self._entries: dict[str, Entry] = {"": _ROOT}
        self._below: dict[str, list[str]] | None = None

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()

    def discard(self) -> None:
        """Remove the bytes. Idempotent."""
        if self._bytes is not None:
            self._bytes.discard()

    def __len__(self) -> int:
        return len(self._entries) - 1

    def add(self, entry: Entry) -> None:
        """Put an entry in; a later one of the same path replaces the earlier, and directories
        above that were not named are implied."""
        self._below = None
        before = self._entries.get(entry.path)
        if before is not None and before.type is Type.DIRECTORY and entry.type is not before.type:
            inside = entry.path + "/"
            self._entries = {k: v for k, v in self._entries.items() if not k.startswith(inside)}
        self._entries[entry.path] = entry
        above = entry.path.rpartition("/")[0]
        while (there := self._entries.get(above)) is None or there.type is not Type.DIRECTORY:
            self._entries[above] = Entry(path=above, type=Type.DIRECTORY, mode=0o755)
            above = above.rpartition("/")[0]

    def take_out(self, prefix: str) -> Tree:
        """Move everything below a directory into a tree of its own, which shares the bytes."""
        inside = prefix + "/"
        made = Tree(self._bytes)
        moved = {path: entry for path, entry in self._entries.items() if path.startswith(inside)}
        for path, entry in moved.items():
            link = entry.link
            if entry.type is Type.FILE and link:
                link = link.removeprefix(inside)
            made._entries[path[len(inside) :]] = replace(entry, path=path[len(inside) :], link=link)
        self._entries = {
            path: entry
            for path, entry in self._entries.items()
            if path != prefix and path not in moved
        }
        self._below = None
        return made

    # --- finding ----------------------------------------------------------------------------

    def get(self, path: str) -> Entry | None:
        """The entry of exactly this path."""
        return self._entries.get(path)

    def names(self, directory: str) -> list[str]:
        """Names in a directory, sorted."""
        if self._below is None:
            below: dict[str, list[str]] = {}
            for path in self._entries:
                if path:
                    above, _, name = path.rpartition("/")
                    below.setdefault(above, []).append(name)
            for names in below.values():
                names.sort()
            self._below = below
        return self._below.get(directory, [])

    def walk(self, directory: str) -> Iterator[Entry]:
        """Everything below a directory, each directory before its content, in order of names."""
        for name in self.names(directory):
            entry = self._entries[f"{directory}/{name}" if directory else name]
            yield entry
            if entry.type is Type.DIRECTORY:
                yield from self.walk(entry.path)

    def resolve(self, path: str) -> Entry:
        """The entry that a path leads to, all symlinks followed, ``..`` ending at the root.

        Raises NotFound, and Invalid for links that lead in circles.
        """
        left = [part for part in path.split("/") if part not in {"", "."}]
        left.reverse()
        here = _ROOT
        links = 0
        while left:
            part = left.pop()
            if part == "..":
                here = self._entries[here.path.rpartition("/")[0]]
                continue
            found = self._entries.get(f"{here.path}/{part}" if here.path else part)
            if found is None or here.type is not Type.DIRECTORY:
                raise NotFound(f"there is no {path}", code="build.no-source")
            if found.type is Type.SYMLINK:
                links += 1
                if links > MAX_LINKS:
                    raise Invalid(f"the symlinks of {path} lead in circles", code="build.links")
                if found.link.startswith("/"):
                    here = self._entries[""]
                left += [p for p in reversed(found.link.split("/")) if p not in {"", "."}]
                continue
            here = found
        return self._entries[here.path]

    def match(self, pattern: str) -> list[str]:
        """The paths that a pattern names, sorted; a path without wildcards names itself, there or
        not. Directories on the way may be symlinks. ``**`` alone as a name: any directories."""
        parts = [part for part in pattern.split("/") if part not in {"", "."}]
        found = [""]
        guessed = False
        for part in parts:
            found = list(dict.fromkeys(p for base in found for p in self._step(base, part)))
            guessed = guessed or is_wild(part)
            if guessed and not is_wild(part):
                found = [path for path in found if self._is_there(path)]
        return found

    def _is_there(self, path: str) -> bool:
        """Whether a path is there, be it a symlink that leads nowhere."""
        above, _, name = path.rpartition("/")
        try:
            return name in self.names(self.resolve(above).path)
        except NotFound:
            return False

    def _step(self, base: str, part: str) -> Iterator[str]:
        prefix = f"{base}/" if base else ""
        if not is_wild(part):
            yield prefix + part
            return
        try:
            directory = self.resolve(base)
        except NotFound:
            return
        if part == "**":
            yield base
            for entry in self.walk(directory.path):
                if entry.type is Type.DIRECTORY:
                    yield prefix + entry.path[len(directory.path) :].lstrip("/")
            return
        matches = name_pattern(part)
        for name in self.names(directory.path):
            if matches(name):
                yield prefix + name

    # --- bytes ------------------------------------------------------------------------------

    def content(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of a regular file."""
        if not entry.size:
            return
        assert self._bytes is not None, "a tree with files has bytes"
        with self._bytes.path.open("rb", buffering=0) as file:
            file.seek(entry.offset)
            left = entry.size
            while left:
                data = file.read(min(left, _CHUNK))
                if not data:
                    raise Invalid("the files to copy are gone", code="build.lost-bytes")
                left -= len(data)
                yield data

    def source(self, entry: Entry) -> Readable:
        """The bytes of a regular file as a stream."""
        return _Stream(self.content(entry))


class _Stream:
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


# --- making -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What a tree may hold: entries, and bytes of all files together."""

    entries: int = 1_000_000
    bytes: int = 64 * 1024**3


class Filling:
    """A tree being filled with files, whose bytes go to one upload of the store."""

    def __init__(self, store: BlobStore, amount: Amount | None = None) -> None:
        self._amount = amount or Amount()
        self._upload = store.new_upload(limit=self._amount.bytes)
        self.tree = Tree(self._upload)
        self._aliases: dict[str, str] = {}

    def take_archive(self, source: Readable, *, under: str = "", own: bool = False) -> None:
        """Every member of an uncompressed tar, put below ``under``. ``own``: everything belongs to
        uid and gid 0. Raises Invalid."""
        reader = Reader(source, bounds=Bounds(members=self._amount.entries))
        prefix = f"{under}/" if under else ""
        for member in reader:
            path = clean(prefix + os.fsdecode(member.name))
            if member.type is Type.HARD_LINK:
                self._alias(path, clean(prefix + os.fsdecode(member.link)), member)
            elif path or member.type is Type.DIRECTORY:
                self._member(path, replace(member, uid=0, gid=0) if own else member, reader)

    def take_file(self, path: str, chunks: Iterator[bytes], *, mode: int, mtime: int = 0) -> None:
        """One regular file of root's."""
        entry = Entry(path=path, type=Type.FILE, mode=mode, mtime=mtime)
        self.tree.add(self._store(entry, chunks))

    def discard(self) -> None:
        """Remove what was taken. Idempotent."""
        self.tree.discard()

    def finish(self) -> Tree:
        """The tree, to be read from now on."""
        self._upload.seal(sync=False)
        return self.tree

    def _alias(self, path: str, target: str, member: Member) -> None:
        """A further name of a file that is in the tree already."""
        target = self._aliases.get(target, target)
        first = self.tree.get(target)
        if first is None or first.type is Type.DIRECTORY:
            raise Invalid(
                f"the hard link '{show(member.name)}' leads to '{show(member.link)}', which is not "
                "among the files",
                code="build.hard-link",
            )
        if path != target:
            self._aliases[path] = target
            self.tree.add(replace(first, path=path, link=target))

    def _member(self, path: str, member: Member, reader: Reader) -> None:
        self._aliases.pop(path, None)
        entry = Entry(
            path=path,
            type=member.type,
            mode=member.mode,
            uid=member.uid,
            gid=member.gid,
            mtime=member.mtime,
            link=os.fsdecode(member.link) if member.type is Type.SYMLINK else "",
            major=member.major,
            minor=member.minor,
            xattrs=tuple(sorted(member.xattrs.items())),
        )
        if member.type is Type.FILE:
            entry = self._store(entry, _expanded(member, reader))
        self.tree.add(entry)

    def _store(self, entry: Entry, chunks: Iterator[bytes]) -> Entry:
        hasher = hashlib.sha256()
        offset = self._upload.size
        for chunk in chunks:
            hasher.update(chunk)
            self._upload.write(chunk)
        return replace(
            entry, offset=offset, size=self._upload.size - offset, digest=hasher.hexdigest()
        )


@contextlib.contextmanager
def filling(store: BlobStore, amount: Amount | None = None) -> Iterator[Filling]:
    """Fill a tree; its bytes are discarded when the block fails."""
    made = Filling(store, amount)
    try:
        yield made
    except BaseException:
        made.tree.discard()
        raise


def _expanded(member: Member, reader: Reader) -> Iterator[bytes]:
    """A member's content with the holes of a sparse file filled in."""
    if member.segments is None:
        yield from reader.chunks()
        return
    at = 0
    for offset, length in member.segments:
        yield from _zeros(offset - at)
        at = offset + length
        while length and (data := reader.read(min(length, _CHUNK))):
            length -= len(data)
            yield data
    yield from _zeros(member.real_size - at)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, _CHUNK))
        count -= _CHUNK


def clean(name: bytes | str) -> str:
    """A path within a tree: no leading slash, no ``.``, and ``..`` ends at the root."""
    text = os.fsdecode(name)
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)
