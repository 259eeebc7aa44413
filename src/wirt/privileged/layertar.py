"""A writable layer as the tar of an image layer (OCI image specification, layer.md).

The same changes give the same bytes: sorted, owners by number only, no names of this host, and
with an ``epoch`` no time later than it. Removals become explicit whiteouts.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import replace

from wirt.errors import Invalid
from wirt.privileged.changes import Found
from wirt.privileged.layer import PREFIX, too_large
from wirt.privileged.pack import KINDS, Sink, is_kept, kept_attributes, member_of
from wirt.tar import writer
from wirt.tar.member import Member, Type, show

_CHUNK = 256 * 1024


class HashingSink:
    """Collects small writes, hashes what goes through, and passes it on."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._hash = hashlib.sha256()

    def write(self, data: bytes, /) -> None:
        self._buffer += data
        if len(self._buffer) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Pass on what was collected."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._hash.update(data)
        self._sink.write(data)

    @property
    def digest(self) -> str:
        """Of all that was flushed."""
        return f"sha256:{self._hash.hexdigest()}"


class LayerTar:
    """Takes changes and writes them. ``proc``: of :func:`~wirt.privileged.pack.own_descriptors`.

    ``settle``: also set back the times of the layer itself, so that it is what the archive says.
    ``exact``: whether it is; a socket, say, has no place in an archive.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        proc: int,
        epoch: int | None,
        settle: bool,
        max_bytes: int,
        max_entries: int,
    ) -> None:
        self._sink = sink
        self._proc = proc
        self._latest = 2**63 if epoch is None else epoch * 10**9
        self._settle = settle
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._links: dict[tuple[int, int], bytes] = {}
        self.size = 0
        self.entries = 0
        self.exact = True

    def finish(self) -> None:
        """Write the end of the archive."""
        self._sink.write(writer.END)

    def removed(self, name: bytes, before: os.stat_result) -> None:
        """An explicit whiteout."""
        del before
        head, _, leaf = name.rpartition(b"/")
        hidden = head + b"/" + PREFIX + leaf if head else PREFIX + leaf
        self._write(Member(name=hidden, type=Type.FILE, mode=0o600))

    def directory(self, found: Found, fd: int) -> None:
        """A directory, before what is in it."""
        self._check(found)
        self._note_attributes(fd)
        xattrs = kept_attributes(fd)
        self._write(member_of(found.status, found.name, Type.DIRECTORY, xattrs=xattrs))
        if self._settle and found.status.st_mtime_ns > self._latest:
            os.utime(fd, ns=(self._latest, self._latest))

    def other(self, found: Found) -> None:
        """A file, link, device or pipe."""
        self._check(found)
        kind = KINDS.get(stat.S_IFMT(found.status.st_mode))
        if kind is None:
            self.exact = False
        elif not self._known(found):
            if kind is Type.FILE:
                self._file(found)
            elif kind is Type.SYMLINK:
                link = os.fsencode(os.readlink(found.leaf, dir_fd=found.parent))
                self._write(member_of(found.status, found.name, kind, link=link))
            else:
                self._write(member_of(found.status, found.name, kind))
            self._set_back(found)

    def _check(self, found: Found) -> None:
        if found.leaf.startswith(PREFIX) and found.name != b".":
            raise Invalid(
                f"'{show(found.name)}' cannot be part of an image: names that begin with '.wh.' "
                "mean removed files there",
                hint="remove or rename it",
                code="layer.whiteout",
            )

    def _known(self, found: Found) -> bool:
        """Whether this is a further name of a file already written: then write a hard link."""
        if found.status.st_nlink < 2:
            return False
        first = self._links.setdefault((found.status.st_dev, found.status.st_ino), found.name)
        if first == found.name:
            return False
        self._write(member_of(found.status, found.name, Type.HARD_LINK, link=first))
        return True

    def _file(self, found: Found) -> None:
        held = os.open(found.leaf, os.O_PATH | os.O_NOFOLLOW, dir_fd=found.parent)
        try:
            status = os.fstat(held)
            if not stat.S_ISREG(status.st_mode):  # swapped since it was looked at
                self.exact = False
                return
            fd = os.open(b"%d" % held, os.O_RDONLY | os.O_NONBLOCK, dir_fd=self._proc)
        finally:
            os.close(held)
        try:
            self._note_attributes(fd)
            self._content(found, fd, status.st_size)
        finally:
            os.close(fd)

    def _content(self, found: Found, fd: int, size: int) -> None:
        self.size += size
        if self.size > self._max_bytes:
            raise too_large(self._max_bytes)
        xattrs = kept_attributes(fd)
        self._write(member_of(found.status, found.name, Type.FILE, size=size, xattrs=xattrs))
        left = size
        while left:
            data = _next_data(fd, size - left)
            hole = min(max(data - (size - left), 0), left)
            left -= hole
            while hole:
                self._sink.write(bytes(min(hole, _CHUNK)))
                hole -= min(hole, _CHUNK)
            if left:
                chunk = os.pread(fd, min(left, _CHUNK), size - left)
                # It may shrink while we read; the header has promised this many bytes.
                chunk = chunk or bytes(min(left, _CHUNK))
                self._sink.write(chunk)
                left -= len(chunk)
        self._sink.write(writer.padding(size))

    def _write(self, member: Member) -> None:
        self.entries += 1
        if self.entries > self._max_entries:
            raise Invalid(
                f"more than {self._max_entries} files were changed",
                hint="an image layer may not have more",
                code="archive.too-many",
            )
        if member.mtime > self._latest:
            member = replace(member, mtime=self._latest)
        self._sink.write(writer.encode(member, nanoseconds=True))

    def _note_attributes(self, fd: int) -> None:
        """Attributes that are not written (access control lists) stay with the layer itself."""
        if any(not is_kept(name) for name in os.listxattr(fd)):
            self.exact = False

    def _set_back(self, found: Found) -> None:
        if self._settle and found.status.st_mtime_ns > self._latest:
            times = (self._latest, self._latest)
            os.utime(found.leaf, ns=times, dir_fd=found.parent, follow_symlinks=False)


def _next_data(fd: int, offset: int) -> int:
    """Where the next bytes begin that are no hole; far away when there are none."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        return 2**62 if error.errno == errno.ENXIO else offset
