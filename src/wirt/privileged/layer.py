"""Applying one image layer to the tree that this process is confined to.

The tree is the merged view of the parent layers with the new layer on top, so the kernel turns
removals into whiteouts, new directories over removed ones into opaque ones, and hard links into
lower layers into copies. What is left to do here are the rules of the OCI image specification
(layer.md): whiteouts hide what lower layers have, never what the same layer brings, wherever in
the archive they stand.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from wirt.errors import Exhausted, Invalid
from wirt.privileged import place
from wirt.privileged.remove import remove_tree
from wirt.privileged.walk import Directories, clean
from wirt.tar.member import Member, Type, show
from wirt.tar.reader import Reader

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
_AUFS = frozenset({b".wh..wh.aufs", b".wh..wh.orph", b".wh..wh.plnk"})
_IMPLIED_TIME = 0
BLOCK = 4096
"""Bytes that a file system gives out at once."""
_ENTRY = 16
"""Bytes that a directory needs for an entry besides its name."""
_SHORT = 60
"""Bytes of a symbolic link's target that need no block of their own."""

Parts = tuple[bytes, ...]


class Layer:
    """Takes a tar's members in order; ``finish`` sets the directories' times."""

    def __init__(self, *, max_bytes: int, max_disk: int = 2**62) -> None:
        self._max_bytes = max_bytes
        self._disk_left = max_disk
        self._root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        self._parents = Directories(self._root, on_made=self._made, before=self._remember)
        self._kept: set[int] = set()
        self._copied: set[int] = set()
        self._times: dict[bytes, int] = {}
        self.size = 0

    def apply(self, reader: Reader) -> None:
        """Unpack all members. Raises Invalid for what a layer may not hold."""
        for member in reader:
            try:
                self._one(member, reader)
            except OSError as error:
                raise _translate(error, member) from error
        self._finish()

    def _one(self, member: Member, reader: Reader) -> None:
        self.size += member.real_size
        if self.size > self._max_bytes:
            raise too_large(self._max_bytes)
        self._charge(on_disk(member))
        parts = clean(member.name)
        if not parts:
            if member.type is not Type.DIRECTORY:
                raise Invalid(
                    "the layer replaces its own root by something that is no directory",
                    hint="such a layer is an attack or a bug of the tool that made it",
                    code="layer.root-replaced",
                )
            self._directory(member, (b".",), self._root)
        elif any(part.startswith(PREFIX) for part in parts):
            self._whiteout(member, parts)
        elif member.type is Type.CHAR and member.major == member.minor == 0:
            self._hide(parts)  # the overlay file system's own form of a whiteout
        else:
            self._put(member, parts, reader)

    # --- what the layer brings --------------------------------------------------------------

    def _put(self, member: Member, parts: Parts, reader: Reader) -> None:
        parent = self._parents.open(parts[:-1])
        self._remember(parts[:-1], parent)
        leaf = parts[-1]
        there = _lstat(leaf, parent)
        if there is not None and stat.S_ISDIR(there.st_mode) and member.type is Type.DIRECTORY:
            self._directory(member, parts, parent)
            return
        if member.type is Type.HARD_LINK:
            self._link(member, parts, parent, there)
            return
        self._clear(leaf, parent, there)
        if member.type is Type.DIRECTORY:
            place.make(member, leaf, parent, content=reader, owner=_owner(member))
            self._times[b"/".join(parts)] = member.mtime
        else:
            place.make(member, leaf, parent, content=reader, owner=_owner(member))
        self._keep(parts)

    def _directory(self, member: Member, parts: Parts, parent: int) -> None:
        place.dress_directory(member, parts[-1], parent, owner=_owner(member))
        self._times[b"/".join(parts)] = member.mtime
        self._keep(parts)

    def _link(
        self, member: Member, parts: Parts, parent: int, there: os.stat_result | None
    ) -> None:
        target = clean(member.link)
        try:
            if not target:
                raise IsADirectoryError(errno.EISDIR, "directory")
            flags = os.O_PATH | os.O_DIRECTORY
            source = os.open(b"/".join(target[:-1]) or b".", flags, dir_fd=self._root)
        except OSError as error:
            raise _bad_link(member) from error
        try:
            found = _lstat(target[-1], source)
            if found is None or stat.S_ISDIR(found.st_mode):
                raise _bad_link(member)
            if there is not None and os.path.samestat(found, there):
                return  # a link to itself
            self._clear(parts[-1], parent, there)
            if hash(target) not in self._kept and hash(target) not in self._copied:
                self._charge(found.st_blocks * 512)  # a file of a lower layer is copied up
                self._copied.add(hash(target))
            os.link(
                target[-1], parts[-1], src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False
            )
        finally:
            os.close(source)
        self._keep(parts)

    def _clear(self, leaf: bytes, parent: int, there: os.stat_result | None) -> None:
        if there is None:
            return
        if stat.S_ISDIR(there.st_mode):
            remove_tree(leaf, dir_fd=parent)
        else:
            os.unlink(leaf, dir_fd=parent)

    # --- what the layer hides ---------------------------------------------------------------

    def _whiteout(self, member: Member, parts: Parts) -> None:
        if _AUFS & set(parts):
            return  # bookkeeping of an old storage driver
        hidden = parts[-1].removeprefix(PREFIX)
        inside = any(part.startswith(PREFIX) for part in parts[:-1])
        if parts[-1] == OPAQUE and not inside:
            self._hide_content(parts[:-1])
        elif inside or hidden in {b"", b".", b".."} or hidden.startswith(PREFIX):
            raise Invalid(
                f"the layer holds the invalid whiteout '{show(member.name)}'",
                hint="names that start with '.wh.' are reserved for hiding files of lower layers",
                code="layer.whiteout",
            )
        elif member.type not in {Type.FILE, Type.HARD_LINK, Type.CHAR}:
            raise Invalid(
                f"the whiteout '{show(member.name)}' is no empty file", code="layer.whiteout"
            )
        else:
            self._hide((*parts[:-1], hidden))

    def _hide(self, parts: Parts) -> None:
        """Remove what lower layers have under this name."""
        try:
            parent = os.open(
                b"/".join(parts[:-1]) or b".", os.O_PATH | os.O_DIRECTORY, dir_fd=self._root
            )
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            self._remember(parts[:-1], parent)
            self._remove(parts, parent)
        finally:
            os.close(parent)

    def _hide_content(self, parts: Parts) -> None:
        """Remove what lower layers have in this directory."""
        parent = self._parents.open(parts)
        self._remember(parts, parent)
        self._prune(parts, os.open(b".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=parent))

    def _prune(self, parts: Parts, fd: int) -> None:
        """Remove from the directory ``fd`` (which is closed) all that this layer has not put."""
        try:
            for name in os.listdir(fd):
                self._remove((*parts, os.fsencode(name)), fd)
        finally:
            os.close(fd)

    def _remove(self, parts: Parts, parent: int) -> None:
        leaf = parts[-1]
        if hash(parts) not in self._kept:
            self._parents.forget()
            remove_tree(leaf, dir_fd=parent)
            return
        with contextlib.suppress(NotADirectoryError, FileNotFoundError):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            below = os.open(leaf, flags, dir_fd=parent)
            self._remember(parts, below)
            self._prune(parts, below)

    # --- bookkeeping ------------------------------------------------------------------------

    def _keep(self, parts: Parts) -> None:
        """Note that this layer put ``parts``; hashes only, since a layer may have a million."""
        while parts and (key := hash(parts)) not in self._kept:
            self._kept.add(key)
            parts = parts[:-1]

    def _charge(self, size: int) -> None:
        """Count what something takes on the disk, before it does."""
        self._disk_left -= size
        if self._disk_left < 0:
            raise Exhausted(
                "the layer takes more of the disk than there is for it",
                hint="remove images or guests that are not needed",
                code="layer.no-room",
            )

    def _made(self, parts: Parts) -> None:
        self._charge(BLOCK)
        self._times[b"/".join(parts)] = _IMPLIED_TIME
        self._keep(parts)

    def _remember(self, parts: Parts, fd: int) -> None:
        """Keep the time of a directory that only changes because something in it does."""
        key = b"/".join(parts) or b"."
        if key not in self._times:
            self._times[key] = os.stat(fd).st_mtime_ns

    def _finish(self) -> None:
        self._parents.forget()
        for path, time in self._times.items():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.utime(path, ns=(time, time), dir_fd=self._root)


def on_disk(member: Member) -> int:
    """About how many bytes a member takes: whole blocks for content, extended attributes and a
    directory, and its entry in another one."""
    size = len(member.name) + _ENTRY
    if member.type is Type.FILE:
        parts = member.segments if member.segments is not None else ((0, member.size),)
        size += sum(-(-length // BLOCK) * BLOCK for _, length in parts)
    elif member.type is Type.DIRECTORY or len(member.link) >= _SHORT:
        size += BLOCK
    return size + (BLOCK if member.xattrs else 0)


def too_large(limit: int) -> Invalid:
    """The error for a layer beyond its limit of bytes."""
    return Invalid(
        f"the layer unpacks to more than {limit} bytes",
        hint="it may be a decompression bomb; raise the limit if you trust it",
        code="archive.too-large",
    )


def _owner(member: Member) -> place.Owner:
    return place.Owner(uid=member.uid, gid=member.gid)


def _lstat(leaf: bytes, parent: int) -> os.stat_result | None:
    try:
        return os.stat(leaf, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _bad_link(member: Member) -> Invalid:
    return Invalid(
        f"the hard link '{show(member.name)}' leads to '{show(member.link)}', which is no file "
        "of the image",
        code="layer.hard-link",
    )


def _translate(error: OSError, member: Member) -> Exception:
    """An error of the kernel in the words of who looks at the image."""
    name = show(member.name)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Exhausted(
            f"no space left on the disk while unpacking '{name}'",
            hint="remove images or guests that are not needed",
            code="store.full",
        )
    if error.errno == errno.EFBIG:
        return Invalid(f"'{name}' is larger than is allowed", code="archive.too-large")
    if error.errno in {errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.EINVAL}:
        return Invalid(
            f"'{name}' cannot be unpacked: {os.strerror(error.errno).lower()}",
            hint="the archive contradicts itself",
            code="archive.malformed",
        )
    return OSError(error.errno, error.strerror, member.name)
