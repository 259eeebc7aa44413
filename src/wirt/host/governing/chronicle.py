"""The governor's frames with the guests and claims they are about: a trace of the last hour."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Protocol

import msgspec

from wirt.governor.journal import Frame
from wirt.governor.trace import Head, Label, Scene, encode
from wirt.governor.tree import Group

KEPT = 3600 * 10**9
"""Nanoseconds for which scenes are kept; the one in force always is."""
MOST_BYTES = 4 << 20

Boosted = Callable[[], Mapping[str, int]]
"""Until when who is boosted, in Unix nanoseconds."""


class Frames(Protocol):
    """Where the frames are: JSON lines, those of the last hour and the next ones. ``lead``: also
    some before them, from one on that tells what had been learned."""

    def frames(self, since: int, *, lead: bool = False) -> Iterator[bytes]:
        """All from Unix nanoseconds on, the oldest first."""
        ...

    def follow(self, since: int, *, lead: bool = False) -> AsyncIterator[bytes]:
        """The same, then each new one."""
        ...


class Chronicle:
    """Remembers scenes as they change, and puts them before their frames.

    ``labels``: what the guests are called, and how they are; ``reserve``: bytes the host keeps;
    ``hard``: see :class:`~wirt.governor.trace.Head`.
    """

    def __init__(
        self,
        frames: Frames,
        *,
        labels: Callable[[], Mapping[str, Label]],
        boosted: Boosted,
        reserve: int,
        hard: bool,
    ) -> None:
        self._frames = frames
        self._labels = labels
        self._boosted = boosted
        self._reserve = reserve
        self._hard = hard
        self._scenes: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._last: tuple[Group, Mapping[str, Label], Mapping[str, int]] | None = None

    def note(self, root: Group, frame: Frame) -> None:
        """A tick was decided over ``root``, and its frame comes next."""
        labels, boosts = self._labels(), self._boosted()
        now = (root, labels, boosts)
        last = self._last
        if last is not None and last[0] is root and last[1:] == now[1:]:
            return
        self._last = now
        line = encode(Scene(at=frame.at, root=root, labels=labels, boosts=boosts))
        self._scenes.append((frame.at, line))
        self._bytes += len(line)
        while len(self._scenes) > 1 and (
            self._bytes > MOST_BYTES or self._scenes[1][0] < frame.at - KEPT
        ):
            self._bytes -= len(self._scenes.popleft()[1])

    def trace(self, since: int) -> Iterator[bytes]:
        """A trace of everything from Unix nanoseconds on."""
        yield self._head(since)
        shown = -1
        for line in self._frames.frames(since, lead=True):
            if (scene := self._scene_before(line, shown)) is not None:
                shown = scene[0]
                yield scene[1]
            yield line

    async def follow(self, since: int) -> AsyncIterator[bytes]:
        """The same, then what happens."""
        yield self._head(since)
        shown = -1
        async for line in self._frames.follow(since, lead=True):
            if (scene := self._scene_before(line, shown)) is not None:
                shown = scene[0]
                yield scene[1]
            yield line

    def _head(self, since: int) -> bytes:
        now = time.time_ns()
        return encode(Head(at=now, reserve=self._reserve, hard=self._hard, since=since))

    def _scene_before(self, line: bytes, shown: int) -> tuple[int, bytes] | None:
        """The scene in which a frame was decided, unless it was shown already."""
        at = _WHEN.decode(line).at
        found = next((scene for scene in reversed(self._scenes) if scene[0] <= at), None)
        return None if found is None or found[0] <= shown else found


class _When(msgspec.Struct):
    at: int


_WHEN = msgspec.json.Decoder(_When)
