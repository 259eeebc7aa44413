"""Unpacking a user's archive into a directory of a guest (``docker cp`` into a container).

Other rules than for layers: nothing is hidden by name, existing directories stay, and only what
is in the way of an entry is replaced.
"""

from __future__ import annotations

import errno
import os
import stat

from wirt.errors import Conflict, Exhausted, Forbidden, Invalid
from wirt.privileged import place
from wirt.privileged.remove import remove_tree
from wirt.privileged.walk import Directories, clean
from wirt.tar.member import Member, Type, show
from wirt.tar.reader import Reader


class CopyIn:
    """Takes a tar's members into the directory ``root`` (a descriptor).

    ``strict``: a directory may not replace a non-directory, nor the reverse. ``owner``: given to
    everything, or None for the archive's owners.
    """

    def __init__(self, root: int, *, strict: bool, owner: place.Owner | None) -> None:
        self._root = root
        self._strict = strict
        self._owner = owner
        self._parents = Directories(root, on_made=self._made)
        self._times: dict[bytes, int] = {}

    def unpack(self, reader: Reader) -> None:
        """Unpack all members. Raises Invalid, Conflict, Forbidden, Exhausted."""
        for member in reader:
            parts = clean(member.name)
            if not parts:
                if member.type is not Type.DIRECTORY:
                    raise Invalid("the archive's root is no directory", code="archive.malformed")
                continue  # the directory copied into keeps its attributes
            try:
                self._one(member, parts, reader)
            except OSError as error:
                raise _translate(error, member) from error
        self._parents.forget()
        for path, time in self._times.items():
            os.utime(path, ns=(time, time), dir_fd=self._root)

    def _one(self, member: Member, parts: tuple[bytes, ...], reader: Reader) -> None:
        parent = self._parents.open(parts[:-1])
        leaf = parts[-1]
        owner = self._owner or place.Owner(uid=member.uid, gid=member.gid)
        try:
            there = os.stat(leaf, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        if there is not None:
            was_directory = stat.S_ISDIR(there.st_mode)
            if was_directory and member.type is Type.DIRECTORY:
                place.dress_directory(member, leaf, parent, owner=owner)
                self._times[b"/".join(parts)] = member.mtime
                return
            if self._strict and (was_directory or member.type is Type.DIRECTORY):
                raise _clash(member, was_directory)
            if member.type is not Type.HARD_LINK:
                remove_tree(leaf, dir_fd=parent)
        if member.type is Type.HARD_LINK:
            self._link(member, leaf, parent, there)
            return
        place.make(member, leaf, parent, content=reader, owner=owner)
        if member.type is Type.DIRECTORY:
            self._times[b"/".join(parts)] = member.mtime

    def _link(self, member: Member, leaf: bytes, parent: int, there: os.stat_result | None) -> None:
        target = clean(member.link)
        if not target:
            raise Invalid(f"the hard link '{show(member.name)}' leads to a directory")
        source = -1
        try:
            flags = os.O_PATH | os.O_DIRECTORY
            source = os.open(b"/".join(target[:-1]) or b".", flags, dir_fd=self._root)
            found = os.stat(target[-1], dir_fd=source, follow_symlinks=False)
            if there is not None and os.path.samestat(found, there):
                return
            if there is not None:
                remove_tree(leaf, dir_fd=parent)
            os.link(target[-1], leaf, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise Invalid(
                f"the hard link '{show(member.name)}' leads to '{show(member.link)}', which is "
                "not there",
                code="archive.malformed",
            ) from None
        finally:
            if source >= 0:
                os.close(source)

    def _made(self, parts: tuple[bytes, ...]) -> None:
        if self._owner is not None:
            path = b"/".join(parts)
            os.chown(
                path, self._owner.uid, self._owner.gid, dir_fd=self._root, follow_symlinks=False
            )


def _clash(member: Member, was_directory: bool) -> Conflict:
    name = show(member.name)
    return Conflict(
        f"cannot overwrite directory '{name}' with non-directory"
        if was_directory
        else f"cannot overwrite non-directory '{name}' with directory",
        code="archive.clash",
    )


def _translate(error: OSError, member: Member) -> Exception:
    name = show(member.name)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Exhausted(f"no space left for '{name}'", code="store.full")
    if error.errno == errno.EROFS:
        return Forbidden(
            f"'{name}' lies on a read-only file system of the guest",
            hint="copy to a place that the guest may write to",
            code="guest.read-only",
        )
    if error.errno in {errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EBUSY, errno.EFBIG}:
        return Invalid(
            f"'{name}' cannot be copied: {os.strerror(error.errno).lower()}",
            code="archive.malformed",
        )
    return OSError(error.errno, error.strerror, member.name)
