"""What the governor did of late: frames of the last hour, changes of each guest, bounded in memory.

Frames are kept as JSON lines, most of them compressed: an hour of ten guests takes some 3 MiB.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from wirt.governor.journal import Change, Frame

KEPT = 3600 * 1_000_000_000
"""Nanoseconds for which frames are kept."""
BLOCK = 64
"""Frames that are compressed together."""
MOST_BYTES = 8 << 20
"""Compressed bytes that all frames may take; the oldest go first."""
CHANGES = 256
"""Changes that are kept of each guest."""
GUESTS = 512
"""Guests, running or gone, whose changes are kept."""
QUEUE = 64
"""Frames that a slow reader may lag behind before it loses the oldest."""


@dataclass(frozen=True, slots=True)
class _Block:
    first: int
    last: int
    packed: bytes


class Ring:
    """The governor's memory of its acts, and who wants to hear of the next ones."""

    def __init__(self) -> None:
        self._blocks: deque[_Block] = deque()
        self._packed = 0
        self._fresh: list[tuple[int, bytes]] = []
        self._changes: dict[str, deque[Change]] = {}
        self._readers: set[asyncio.Queue[bytes]] = set()
        self._last: Frame | None = None

    @property
    def last(self) -> Frame | None:
        """The newest frame."""
        return self._last

    def add(self, frame: Frame) -> None:
        """Remember a tick."""
        self._last = frame
        line = msgspec.json.encode(frame) + b"\n"
        self._fresh.append((frame.at, line))
        for change in frame.changes:
            self._remember(change)
        for queue in self._readers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(line)
        if len(self._fresh) >= BLOCK:
            self._pack(frame.at)

    @property
    def begins(self) -> bool:
        """Whether the next frame is the first of a block."""
        return not self._fresh

    def frames(self, since: int, *, lead: bool = False) -> Iterator[bytes]:
        """JSON lines of all frames from Unix nanoseconds on, the oldest first; ``lead``: with those
        before them in their block."""
        for block in tuple(self._blocks):
            if block.last >= since:
                lines = zlib.decompress(block.packed).splitlines(keepends=True)
                whole = lead or block.first >= since
                yield from (line for line in lines if whole or _at(line) >= since)
        yield from [line for at, line in self._fresh if lead or at >= since]

    async def follow(self, since: int, *, lead: bool = False) -> AsyncIterator[bytes]:
        """As :meth:`frames`, then each new one."""
        with self._reader() as queue:
            for line in self.frames(since, lead=lead):
                yield line
            while True:
                yield await queue.get()

    def changes(self, guest_id: str, since: int) -> list[Change]:
        """What was done to a guest from Unix nanoseconds on, the oldest first."""
        return [one for one in self._changes.get(guest_id, ()) if one.at >= since]

    @contextmanager
    def _reader(self) -> Iterator[asyncio.Queue[bytes]]:
        queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)
        self._readers.add(queue)
        try:
            yield queue
        finally:
            self._readers.discard(queue)

    def _remember(self, change: Change) -> None:
        known = self._changes.pop(change.guest, None)
        known = deque(maxlen=CHANGES) if known is None else known
        known.append(change)
        self._changes[change.guest] = known  # at the end: changed last
        while len(self._changes) > GUESTS:
            del self._changes[next(iter(self._changes))]

    def _pack(self, now: int) -> None:
        packed = zlib.compress(b"".join(line for _, line in self._fresh), 1)
        self._blocks.append(_Block(self._fresh[0][0], self._fresh[-1][0], packed))
        self._packed += len(packed)
        self._fresh = []
        while self._blocks and (self._packed > MOST_BYTES or self._blocks[0].last < now - KEPT):
            self._packed -= len(self._blocks.popleft().packed)


class _When(msgspec.Struct):
    at: int


_WHEN = msgspec.json.Decoder(_When)


def _at(line: bytes) -> int:
    return _WHEN.decode(line).at
