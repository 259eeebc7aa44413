"""``wirt cp``: files in and out of a guest, with docker's rules for paths."""

from __future__ import annotations

import base64
import binascii
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from wirt.cli.flags import Call, Command, Flag, misuse
from wirt.cli.output import STDOUT, write
from wirt.cli.tree import pack
from wirt.cli.untar import Unpacker
from wirt.cli.upload import parts
from wirt.client.daemon import Daemon, unreachable
from wirt.client.fastjson import decode
from wirt.client.wire import Lost, Response, quote, target
from wirt.errors import Internal, NotFound, WirtError

TAR = "application/x-tar"
LINKS = 40
"""How many links a path may lead through, as in the kernel (path_resolution(7))."""


@dataclass(frozen=True)
class Place:
    """One side of a copy. ``guest`` empty: a local path. ``path`` as typed."""

    guest: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Place:
        """``GUEST:PATH``; what begins with ``/`` or ``.`` is local, whatever colons it has."""
        guest, colon, path = text.partition(":")
        if not colon or text.startswith(("/", ".")) or "/" in guest:
            return cls("", text)
        if not guest or not path:
            raise misuse(f"invalid place {text!r}", hint="write GUEST:PATH or a local path")
        return cls(guest, path)

    @property
    def contents(self) -> bool:
        """Whether only what is inside the directory is meant: it ends with ``/.``."""
        return self.path.endswith("/.") or self.path == "."

    @property
    def folder(self) -> bool:
        """Whether it can only be a directory: it ends with ``/``."""
        return self.path.endswith("/")

    @property
    def clean(self) -> str:
        """The path without ``/.`` and ``/`` at its end; inside a guest always absolute."""
        path = posixpath.normpath(self.path)
        return posixpath.normpath(f"/{path.lstrip('/')}") if self.guest else path


@dataclass(frozen=True)
class Stat:
    """What is at a path inside a guest."""

    mode: int
    link_target: str

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


def run(call: Call) -> int:
    """Copy between a guest and here."""
    source, destination = (Place.parse(text) for text in call.args)
    if bool(source.guest) == bool(destination.guest):
        side = "two guests" if source.guest else "two local paths"
        raise misuse(
            f"cannot copy between {side}", hint="one side is GUEST:PATH, the other is local"
        )
    archive = Archive(call.daemon, source.guest or destination.guest)
    follow, keep = call.on("follow-link"), call.on("archive")
    if source.guest:
        copy_out(archive, source, destination.path, follow=follow, keep_owner=keep)
    else:
        copy_in(archive, source, destination, follow=follow, keep_owner=keep)
    return 0


class Archive:
    """A guest's files over the API."""

    def __init__(self, daemon: Daemon, guest: str) -> None:
        daemon.call("GET", f"/v1/guests/{quote(guest)}")  # a missing guest is told as one
        self._daemon = daemon
        self._guest = guest
        self._where = f"/v1/guests/{quote(guest)}/archive"

    def stat(self, path: str) -> Stat:
        """What is there. Raises NotFound."""
        where = target(self._where, [("path", path)])
        try:
            answer = self._daemon.request("HEAD", where)
        except WirtError:  # an answer to HEAD has no body: GET fails alike, and says why
            answer = self._daemon.request("GET", where)
            self._daemon.close()
        return self._told(answer)

    def resolved(self, path: str) -> tuple[str, Stat]:
        """Follow links of the last component, within the guest's root."""
        found = self.stat(path)
        for _ in range(LINKS):
            if not stat.S_ISLNK(found.mode):
                return path, found
            path = posixpath.normpath(
                posixpath.join("/", posixpath.dirname(path), found.link_target)
            )
            found = self.stat(path)
        raise misuse(f"{path} leads through too many links", hint="is it a loop of links?")

    def get(self, path: str) -> tuple[Stat, Iterator[bytes]]:
        """The tar of what is there."""
        answer = self._daemon.request("GET", target(self._where, [("path", path)]))
        return self._told(answer), self._chunks(answer)

    def _chunks(self, answer: Response) -> Iterator[bytes]:
        try:
            yield from answer.chunks()
        except (OSError, Lost) as error:
            raise unreachable(self._daemon.path, error) from error

    def put(self, path: str, tar: Iterator[bytes], *, keep_owner: bool) -> None:
        """Unpack a tar into a directory of the guest; a file never replaces a directory."""
        where = target(
            self._where,
            [
                ("path", path),
                ("no_overwrite_dir_non_dir", True),
                ("copy_uid_gid", keep_owner or None),
            ],
        )
        self._daemon.upload("PUT", where, tar, kind=TAR).read()

    @staticmethod
    def _told(answer: Response) -> Stat:
        try:
            told = decode(base64.b64decode(answer.headers.get("wirt-stat", "")))
            return Stat(int(told["mode"]), str(told.get("link_target") or ""))
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise Internal("the daemon told nothing about the path") from error


def copy_out(
    archive: Archive, source: Place, destination: str, *, follow: bool, keep_owner: bool
) -> None:
    """From a guest: a tar to standard output, or files below ``destination``."""
    path = archive.resolved(source.clean)[0] if follow or source.contents else source.clean
    found, tar = archive.get(path)
    if destination == "-":
        if os.isatty(STDOUT):
            raise misuse("standard output is a terminal", hint="redirect it to a file")
        for data in tar:
            write(STDOUT, data)
        return
    if source.folder and not found.is_directory:
        raise misuse(f"{source.path} in the guest is no directory", hint="leave out the '/'")
    root, rename = _local_target(source, found, destination)
    unpacker = Unpacker(root, top=posixpath.basename(path), rename=rename, keep_owner=keep_owner)
    unpacker.unpack(tar)


def _local_target(source: Place, found: Stat, destination: str) -> tuple[str, str]:
    """The directory to unpack into, and what the top entry is called there."""
    name = posixpath.basename(source.clean)
    if os.path.isdir(destination):  # noqa: PTH112
        if found.is_directory and (source.contents or not name):
            return destination, "."
        return destination, name
    if os.path.lexists(destination.rstrip("/")):
        if found.is_directory:
            raise misuse(
                f"cannot copy the directory {source.path} to the file {destination}",
                hint="name a directory, or a path that does not exist",
            )
        if destination.endswith("/"):
            raise misuse(f"{destination} is no directory", hint="leave out the '/' at its end")
    elif destination.endswith("/") and not found.is_directory:
        raise misuse(f"there is no directory {destination}", hint="make it first")
    parent, last = os.path.split(destination.rstrip("/"))
    if not os.path.isdir(parent or "."):  # noqa: PTH112
        raise misuse(f"there is no directory {parent}", hint="make it first")
    if last in {"", ".", ".."}:
        raise misuse(f"there is no directory {destination}", hint="make it first")
    return parent or ".", last


def copy_in(
    archive: Archive, source: Place, destination: Place, *, follow: bool, keep_owner: bool
) -> None:
    """Into a guest: a tar from standard input, or local files."""
    place, found = _guest_target(archive, destination)
    if source.path == "-":
        if found is None or not found.is_directory:
            raise misuse(
                f"{destination.path} in the guest is no directory",
                hint="a tar from standard input is unpacked into a directory",
            )
        archive.put(place, parts("-"), keep_owner=keep_owner)
        return
    path = os.path.realpath(source.clean) if follow or source.contents else source.clean
    if not os.path.lexists(path):
        raise misuse(f"there is no {source.path}", hint="is the path right?")
    is_folder = os.path.isdir(path) and (not os.path.islink(path) or source.folder)  # noqa: PTH112, PTH114
    if source.folder and not is_folder:
        raise misuse(f"{source.path} is no directory", hint="leave out the '/' at its end")
    path = os.path.realpath(path) if source.folder else path
    into, name = _name_in_guest(source, destination, place, found, is_folder=is_folder)
    tar = pack(path, name, keep_owner=keep_owner, contents=not name)
    archive.put(into, tar, keep_owner=keep_owner)


def _guest_target(archive: Archive, destination: Place) -> tuple[str, Stat | None]:
    """The path with links followed, and what is there: None when only its directory exists."""
    path = destination.clean
    try:
        return archive.resolved(path)
    except NotFound as error:
        if path == "/":
            raise
        missing = error
    try:
        parent, found = archive.resolved(posixpath.dirname(path))
    except NotFound:
        raise missing from None
    if not found.is_directory:
        raise misuse(f"{parent} in the guest is no directory", hint="copy into a directory")
    return posixpath.join(parent, posixpath.basename(path)), None


def _name_in_guest(
    source: Place, destination: Place, place: str, found: Stat | None, *, is_folder: bool
) -> tuple[str, str]:
    """The guest's directory to unpack into and the top entry's name; empty: contents only."""
    if found is None:
        if destination.folder and not is_folder:
            raise misuse(
                f"there is no directory {destination.path} in the guest", hint="make it first"
            )
        return posixpath.dirname(place), posixpath.basename(place)
    if found.is_directory:
        own_name = posixpath.basename(posixpath.abspath(source.path))
        return place, "" if is_folder and source.contents else own_name
    if is_folder:
        raise misuse(
            f"cannot copy the directory {source.path} to the file {destination.path}",
            hint="name a directory, or a path that does not exist",
        )
    if destination.folder:
        raise misuse(f"{destination.path} in the guest is no directory", hint="leave out the '/'")
    return posixpath.dirname(place), posixpath.basename(place)


COMMAND = Command(
    "cp",
    summary="Copy files between a guest and here",
    arguments="GUEST:PATH PATH|-  or  PATH|- GUEST:PATH",
    takes=(2, 2),
    flags=(
        Flag("archive", "a", kind="bool", help="Keep owners and set-user-id bits"),
        Flag("follow-link", "L", kind="bool", help="Copy what a link at the source points to"),
        Flag("quiet", "q", kind="bool", help="No effect: nothing is said anyway"),
    ),
    run=run,
)
