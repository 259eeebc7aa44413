"""The child of the helper that waits for work."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from helping import (
    ID,
    children,
    end,
    helper_path,
    launch_verb,
    story_of,
)
from waiting import eventually
from wirt.privileged import protocol as p
from wirt.privileged.client import Helper

__all__ = ["helper_path"]


async def the_one(path: Path) -> int:
    """The pid of the helper's only child, once it has forked one and reaped those that ended."""
    await eventually(lambda: len(children(path)) == 1, "one child waits")
    return children(path)[0]


def test_one_child_waits_for_work_and_is_replaced(path: Path) -> None:
    async def story(helper: Helper) -> None:
        await helper.call(p.Ping())
        for _ in range(3):
            waiting = await the_one(path)
            launched, fds = await helper.call(launch_verb("a"))
            assert launched.keeper_pid == waiting
            os.close(fds[0])
            end(waiting)
            await helper.call(p.Ping())
            await helper.call(p.Ping())

    story_of(path, story)


def test_work_is_done_though_the_child_that_waited_was_killed(path: Path) -> None:
    async def story(helper: Helper) -> None:
        await helper.call(p.Ping())
        waiting = await the_one(path)
        end(waiting)
        await helper.call(p.KillGuest(id=ID))
        read, write = os.pipe()
        await helper.call(p.ReadTree(source=p.TreeSource(guest=ID), path="/"), (write,))
        os.close(write)
        assert os.read(read, 100) == b"tree"
        os.close(read)

    story_of(path, story)


def test_large_work_is_for_a_new_child(path: Path) -> None:
    async def story(helper: Helper) -> None:
        await helper.call(p.Ping())
        waiting = await the_one(path)
        launch = msgspec.structs.replace(launch_verb("a"), files={"x": "y" * 100_000})
        launched, fds = await helper.call(launch)
        assert launched.keeper_pid != waiting
        assert waiting in children(path)
        end(launched.keeper_pid)
        os.close(fds[0])

    story_of(path, story)
