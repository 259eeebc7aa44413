"""Traces made of frames and the scenes they were decided in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from fakes.governed import ROOT, frame
from wirt.governor.journal import Frame
from wirt.governor.trace import Label, Scene, decode, encode
from wirt.host.governing.chronicle import KEPT, Chronicle


class Frames:
    """A ring that forgets nothing, and begins with a block of its own for each tick."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, bytes]] = []

    def frames(self, since: int, *, lead: bool = False) -> Iterator[bytes]:
        assert lead, "a trace begins with what was learned"
        yield from [line for at, line in self.lines if at >= since]

    async def follow(self, since: int, *, lead: bool = False) -> AsyncIterator[bytes]:
        for line in self.frames(since, lead=lead):
            yield line


class Story:
    """Ticks, one a second."""

    def __init__(self) -> None:
        self.frames = Frames()
        self.names = {"d" * 64: Label(name="dc")}
        self.boosts: dict[str, int] = {}
        self.root = ROOT
        self.chronicle = Chronicle(
            self.frames, labels=lambda: self.names, boosted=lambda: self.boosts, reserve=7,
            hard=True,
        )  # fmt: skip

    def tick(self, at: int) -> None:
        made = frame(at)
        self.chronicle.note(self.root, made)
        self.frames.lines.append((at, encode(made)))

    def kinds(self, since: int = 0) -> list[str]:
        return [
            f"frame {one.at}" if isinstance(one, Frame)
            else f"scene {one.at}" if isinstance(one, Scene) else "head"
            for one in decode(self.chronicle.trace(since))
        ]  # fmt: skip


def test_scenes_come_before_the_frames_they_are_of_and_only_when_they_change() -> None:
    story = Story()
    story.tick(1)
    story.tick(2)
    story.root = replace(ROOT, expandable=True)
    story.tick(3)
    story.boosts = {"d" * 64: 9}
    story.tick(4)
    story.names = {}
    story.tick(5)
    story.tick(6)
    whole = ["scene 1", "frame 1", "frame 2", "scene 3", "frame 3", "scene 4", "frame 4",
             "scene 5", "frame 5", "frame 6"]  # fmt: skip
    assert story.kinds() == ["head", *whole]
    assert story.kinds(2) == ["head", "scene 1", *whole[2:]]
    assert story.kinds(6) == ["head", "scene 5", "frame 6"]
    assert story.kinds(7) == ["head"]

    async def follow() -> list[bytes]:
        return [line async for line in story.chronicle.follow(0)]

    assert asyncio.run(follow())[1:] == list(story.chronicle.trace(0))[1:]


def test_the_scene_in_force_is_never_forgotten() -> None:
    story = Story()
    story.tick(1)
    story.root = replace(ROOT, expandable=True)
    story.tick(2)
    story.tick(3 * KEPT)
    story.root = ROOT
    story.tick(3 * KEPT + 1)
    assert story.kinds(3 * KEPT) == [
        "head", "scene 2", f"frame {3 * KEPT}", f"scene {3 * KEPT + 1}", f"frame {3 * KEPT + 1}",
    ]  # fmt: skip
    assert story.kinds()[:2] == ["head", "frame 1"]  # whose scene has gone
