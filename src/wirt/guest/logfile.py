"""The files of a guest's log: records, rotation, and where the last lines begin.

The format is ``docs/reference/keeper-protocol.md``, "Log files". The keeper writes while this
reads: a record counts when all of it is there, a file that was rotated away is read to its end
through its descriptor, and nothing is mapped, since a keeper may cut a torn record off.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

STDOUT, STDERR = 1, 2
GOES_ON = 1
"""Flag: the previous record of this stream did not end with a newline."""
RECORD_HEAD = struct.Struct(">BBHIQ")
HEAD = RECORD_HEAD.size
LENGTH_MAX = 65_536

_BLOCK = 16 * 1024
_ATTEMPTS = 500


class Position(NamedTuple):
    """A byte of the log: which file (0 is the oldest), the record's offset, bytes into it."""

    file: int
    offset: int
    skip: int = 0


@dataclass(frozen=True, slots=True)
class LogFile:
    """One open file of the log. The inode tells it apart after a rotation."""

    fd: int
    inode: int


def _open(path: Path) -> LogFile | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    return LogFile(fd, os.fstat(fd).st_ino)


def _inode(path: Path) -> int:
    """0 when it is not there."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


class LogFiles:
    """The open files of a log, oldest first. A context manager that closes them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: list[LogFile] = []

    def __enter__(self) -> LogFiles:
        self.extend()
        return self

    def __exit__(self, *error: object) -> None:
        for file in self.files:
            os.close(file.fd)
        self.files.clear()

    def extend(self) -> None:
        """Add the files that are newer than the newest one known, oldest of them first.

        A rotation renames one file after the other, from the oldest down, and leaves a gap while it
        lasts: what was seen counts when there is no gap and a second look sees the same. A keeper
        that was killed meanwhile leaves the gap, so at some time it is accepted.
        """
        for attempt in range(_ATTEMPTS):
            names = self._names()
            newer = self._open_newer(names)
            whole = [number for number, _ in names] == list(range(len(names)))
            same = [inode for _, inode in names[: len(newer)]] == [file.inode for file in newer]
            if (whole and same and self._names() == names) or attempt == _ATTEMPTS - 1:
                self.files.extend(reversed(newer))
                return
            for file in newer:
                os.close(file.fd)
            os.sched_yield()

    def _names(self) -> list[tuple[int, int]]:
        """Numbers and inodes of the files that are there, newest first."""
        try:
            numbers = sorted(int(e.name) for e in self.directory.iterdir() if e.name.isdecimal())
        except FileNotFoundError:
            return []
        return [(number, _inode(self.directory / str(number))) for number in numbers]

    def _open_newer(self, names: list[tuple[int, int]]) -> list[LogFile]:
        known = self.files[-1].inode if self.files else None
        newer: list[LogFile] = []
        for number, inode in names:
            if inode == known:
                break
            file = _open(self.directory / str(number))
            if file is not None:
                newer.append(file)
        return newer

    def newest(self) -> int | None:
        """The inode of the file that the keeper writes now, None when there is none."""
        return _inode(self.directory / "0") or None


def offsets_of(file: LogFile) -> array[int]:
    """Where each whole record begins; stops at a torn or malformed one. Reads headers, and of
    large records nothing else."""
    found = array("Q")
    size = os.fstat(file.fd).st_size
    at = 0
    unpack = RECORD_HEAD.unpack_from
    while True:
        block = os.pread(file.fd, _BLOCK, at)
        inside, last = 0, len(block) - HEAD
        while inside <= last:
            stream, _, zero, length, _ = unpack(block, inside)
            end = inside + HEAD + length
            if zero or not 1 <= stream <= 2 or length > LENGTH_MAX or at + end > size:
                return found
            found.append(at + inside)
            inside = end
        if last < 0:
            return found
        at += inside


def end_of(file: LogFile) -> int:
    """Where the last whole record ends."""
    offsets = offsets_of(file)
    if not offsets:
        return 0
    head = os.pread(file.fd, HEAD, offsets[-1])
    return offsets[-1] + HEAD + RECORD_HEAD.unpack(head)[3] if len(head) == HEAD else 0


class Entry(NamedTuple):
    """One record: where, what and when (Unix nanoseconds)."""

    at: Position
    stream: int
    flags: int
    time: int
    data: bytes


def _backwards(files: list[LogFile]) -> Iterator[Entry]:
    for number in range(len(files) - 1, -1, -1):
        file = files[number]
        for offset in reversed(offsets_of(file)):
            head = os.pread(file.fd, HEAD, offset)
            if len(head) < HEAD:
                continue
            stream, flags, _, length, time = RECORD_HEAD.unpack(head)
            data = os.pread(file.fd, length, offset + HEAD)
            yield Entry(Position(number, offset), stream, flags, time, data)


class _LastLines:
    """Counts lines from the end until where the wanted ones begin is known for every stream.

    Lines are counted by their ends. The line that is being written has no end yet and counts.
    A line of one stream may surround lines of the other, so each stream has its own beginning.
    """

    def __init__(self, streams: frozenset[int], count: int) -> None:
        self.begins: dict[int, Position] = {}
        self._streams = streams
        self._left = count
        self._met: dict[int, Entry] = {}

    def take(self, entry: Entry) -> bool:
        """Look at one more record, from the end. True when all is known."""
        stream = entry.stream
        if stream in self.begins:
            return self._known()
        if self._left >= 0:
            self._count(entry)
        else:
            self._line_start(entry)
        self._met[stream] = entry
        return self._known()

    def _known(self) -> bool:
        return self._left < 0 and self._streams <= self.begins.keys()

    def _count(self, entry: Entry) -> None:
        data = entry.data
        open_line = entry.stream not in self._met and bool(data) and not data.endswith(b"\n")
        if open_line:
            if self._left == 0:
                self._cut(entry, len(data))
                return
            self._left -= 1
        lines = data.count(b"\n")
        if lines <= self._left:
            self._left -= lines
            return
        at = len(data)
        for _ in range(self._left + 1):
            at = data.rfind(b"\n", 0, at)
        self._cut(entry, at + 1)

    def _cut(self, entry: Entry, skip: int) -> None:
        """The wanted lines end after this byte: here begins this record's stream, and the others
        begin here or where their own line under way does."""
        self._left = -1
        here = entry.at
        self.begins[entry.stream] = Position(here.file, here.offset, skip)
        for other in self._streams - {entry.stream}:
            met = self._met.get(other)
            if met is None:
                self.begins[other] = here
            elif not met.flags & GOES_ON:
                self.begins[other] = met.at

    def _line_start(self, entry: Entry) -> None:
        newline = entry.data.rfind(b"\n")
        if newline >= 0 or not entry.flags & GOES_ON:
            self.begins[entry.stream] = Position(entry.at.file, entry.at.offset, newline + 1)


def last_lines(
    files: list[LogFile], *, streams: frozenset[int], count: int, since: int, until: int
) -> dict[int, Position]:
    """For each stream where its part of the last ``count`` lines begins; a stream that is not
    named begins at the beginning. Records before ``since`` or after ``until`` (Unix ns, 0: no
    bound) do not count."""
    last = _LastLines(streams, count)
    for entry in _backwards(files):
        if since and entry.time < since:
            break
        if entry.stream not in streams or (until and entry.time > until):
            continue
        if last.take(entry):
            break
    return last.begins
