"""Reads a guest's log as docker's clients expect it, in big pieces and while it is written."""

from __future__ import annotations

import asyncio
import functools
import os
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wirt.guest.logfile import (
    GOES_ON,
    HEAD,
    LENGTH_MAX,
    RECORD_HEAD,
    STDERR,
    STDOUT,
    LogFiles,
    Position,
    end_of,
    last_lines,
)
from wirt.linux.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Inotify

_CHUNK = 1024 * 1024
_POLL = 0.2
"""Seconds between two looks at whether the guest has ended: nothing tells of it here."""
_FRAME = struct.Struct(">B3xI")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What to show. ``since`` and ``until``: Unix nanoseconds, 0 for no bound."""

    streams: frozenset[int]
    since: int
    until: int
    timestamps: bool
    raw: bool


@functools.lru_cache(maxsize=4)
def _second(seconds: int) -> bytes:
    """Neighbouring records are of the same second."""
    return b"%04d-%02d-%02dT%02d:%02d:%02d" % time.gmtime(seconds)[:6]


def _stamp(nanoseconds: int) -> bytes:
    """RFC 3339 in UTC with nine digits and a blank."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return b"%b.%09dZ " % (_second(seconds), rest)


class _Writer:
    """Turns records into what the client reads: frames, or raw bytes of a terminal."""

    def __init__(self, wish: _Wish) -> None:
        self._wish = wish
        self._pieces: list[bytes] = []
        self._run: list[bytes] = []
        self._run_stream = 0
        self._run_size = 0
        self._begun: set[int] = set()

    def add(self, stream: int, data: bytes, *, new_line: bool, stamp: int) -> None:
        """One record's bytes. ``new_line``: they begin a line."""
        if not data:
            return
        if self._wish.timestamps:
            begins = new_line or stream not in self._begun
            self._begun.add(stream)
            self._stamped(stream, data, _stamp(stamp), begins)
        elif self._wish.raw:
            self._pieces.append(data)
        else:
            if stream != self._run_stream or self._run_size > _CHUNK:
                self._end_run()
                self._run_stream = stream
            self._run.append(data)
            self._run_size += len(data)

    def _end_run(self) -> None:
        """Neighbouring records of one stream become one frame."""
        if self._run:
            self._pieces.append(_FRAME.pack(self._run_stream, self._run_size))
            self._pieces += self._run
            self._run.clear()
            self._run_size = 0

    def _stamped(self, stream: int, data: bytes, stamp: bytes, begins: bool) -> None:
        """One frame a line. The rest of a line that an earlier record began has no stamp."""
        lines = data.split(b"\n")
        tail = lines.pop()
        lines = [stamp + line + b"\n" for line in lines]
        if tail:
            lines.append(stamp + tail)
        if not begins:
            lines[0] = lines[0][len(stamp) :]
        if self._wish.raw:
            self._pieces += lines
            return
        pack = _FRAME.pack
        for line in lines:
            self._pieces.append(pack(stream, len(line)))
            self._pieces.append(line)

    def take(self) -> bytes:
        """Everything written since the last call."""
        self._end_run()
        joined = b"".join(self._pieces)
        self._pieces.clear()
        return joined


@dataclass(slots=True)
class _Scan:
    """Where reading has come to. Its methods are called from one thread at a time."""

    files: LogFiles
    wish: _Wish
    begins: Mapping[int, Position] = field(default_factory=dict)
    number: int = 0
    offset: int = 0
    over: bool = False

    def skip_to(self, tail: int) -> None:
        """Begin at the last ``tail`` lines."""
        if tail > 0:
            self.begins = last_lines(
                self.files.files,
                streams=self.wish.streams,
                count=tail,
                since=self.wish.since,
                until=self.wish.until,
            )
            if self.wish.streams <= self.begins.keys():
                first = min(self.begins.values())
                self.number, self.offset = first.file, first.offset
        elif self.files.files:
            self.number = len(self.files.files) - 1
            self.offset = end_of(self.files.files[-1])

    def read(self) -> bytes:
        """The next piece; empty when nothing more is there now."""
        writer = _Writer(self.wish)
        while not self.over:
            newest = self.files.newest()
            if self.number < len(self.files.files):
                if self._read_chunk(writer):
                    piece = writer.take()
                    if piece:
                        return piece
                    continue
                if self.number + 1 == len(self.files.files):
                    if newest in (None, self.files.files[self.number].inode):
                        return b""
                    self.files.extend()
                self.number, self.offset = self.number + 1, 0
            elif newest is None:
                return b""
            else:
                self.files.extend()
        return writer.take()

    def _read_chunk(self, writer: _Writer) -> bool:
        """Pass the next whole records on. False at the end of the file as it is now."""
        block = os.pread(self.files.files[self.number].fd, _CHUNK, self.offset)
        unpack = RECORD_HEAD.unpack_from
        since, until, streams = self.wish.since, self.wish.until, self.wish.streams
        at, size = 0, len(block)
        while at + HEAD <= size:
            stream, flags, zero, length, stamp = unpack(block, at)
            end = at + HEAD + length
            if zero or not 1 <= stream <= 2 or length > LENGTH_MAX:
                self.offset = 1 << 62  # nothing after a malformed record can be trusted
                return at > 0
            if end > size:
                break
            if until and stamp > until:
                self.over = True
                return True
            if stream in streams and stamp >= since:
                self._pass_on(writer, at, block[at + HEAD : end], (stream, flags, stamp))
            at = end
        self.offset += at
        return at > 0

    def _pass_on(self, writer: _Writer, at: int, data: bytes, head: tuple[int, int, int]) -> None:
        stream, flags, stamp = head
        begin = self.begins.get(stream)
        new_line = not flags & GOES_ON
        if begin is not None:
            here = Position(self.number, self.offset + at)
            if here < (begin.file, begin.offset):
                return
            if here[:2] == begin[:2] and begin.skip:
                data, new_line = data[begin.skip :], True
        writer.add(stream, data, new_line=new_line, stamp=stamp)


class GuestLog:
    """The log of one guest, below ``directory`` (``Layout.guest_log``). It need not exist yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def read(
        self,
        *,
        stdout: bool,
        stderr: bool,
        tail: int | None,
        since: int,
        until: int,
        timestamps: bool,
        follow: bool,
        ended: Callable[[], bool],
        tty: bool = False,
    ) -> AsyncIterator[bytes]:
        """Pieces of the log, up to about 1 MiB each, as docker's frames (raw bytes with ``tty``).

        ``tail``: the last so many lines of the wanted streams, None for all. ``since`` and
        ``until``: Unix nanoseconds, 0 for no bound. ``timestamps``: each line begins with its
        RFC 3339 time with nine digits and a blank, and has a frame of its own. ``follow``: go on
        until ``ended()`` and everything is read. Files are read in a thread.
        """
        streams = frozenset(s for s, want in ((STDOUT, stdout or tty), (STDERR, stderr)) if want)
        wish = _Wish(streams=streams, since=since, until=until, timestamps=timestamps, raw=tty)
        with LogFiles(self.directory) as files, Inotify() as changes:
            scan = _Scan(files, wish)
            if follow:
                self._watch(changes)
            if tail is not None:
                await asyncio.to_thread(scan.skip_to, tail)
            while True:
                last = not follow or ended()
                while piece := await asyncio.to_thread(scan.read):
                    yield piece
                if last or scan.over:
                    return
                if not files.files:
                    self._watch(changes)
                await _changed(changes)

    def _watch(self, changes: Inotify) -> None:
        """The directory's watch tells of writes to its files as well as of rotations."""
        try:
            changes.add(self.directory, IN_MODIFY | IN_CREATE | IN_MOVED_TO)
        except FileNotFoundError:
            return  # looked for again with each poll


async def _changed(changes: Inotify) -> None:
    """Wait until something happens in the directory, at most :data:`_POLL` seconds."""
    loop = asyncio.get_running_loop()
    happened = asyncio.Event()
    loop.add_reader(changes.fileno(), happened.set)
    try:
        async with asyncio.timeout(_POLL):
            await happened.wait()
    except TimeoutError:
        return
    finally:
        loop.remove_reader(changes.fileno())
    changes.read()
