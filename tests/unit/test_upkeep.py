"""Chores in the background: what is told of one that fails, and when it is tried again."""

from __future__ import annotations

import asyncio
import logging

import pytest

from wirt.errors import Unavailable
from wirt.host import upkeep
from wirt.host.upkeep import Upkeep


async def away() -> None:
    raise Unavailable("the root helper does not answer", code="helper.gone")


async def broken() -> None:
    raise ValueError("a mistake")


def test_a_helper_that_is_away_is_one_line_and_a_mistake_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = []

    async def fine() -> None:
        done.append(1)

    with caplog.at_level(logging.WARNING, "wirt.upkeep"):
        assert not asyncio.run(upkeep.do({"trim": away, "sweep": fine}))
        assert asyncio.run(upkeep.do({"caches": broken, "sweep": fine}))
    one, other = caplog.records
    assert one.getMessage() == "the chore 'trim' waits: the root helper does not answer"
    assert one.exc_info is None
    assert other.exc_info is not None
    assert done == [1, 1], "the others are done"


def test_it_goes_on_soon_after_the_helper_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "MINUTE", 0.01)
    tried = []

    async def story() -> None:
        again = asyncio.Event()

        async def chore() -> None:
            tried.append(1)
            if len(tried) == 1:
                await away()
            again.set()

        made = Upkeep(asyncio.Event(), quiet=0.0)
        made.chores["trim"] = chore
        task = asyncio.create_task(made.serve())
        async with asyncio.timeout(10):
            await again.wait()
        task.cancel()

    asyncio.run(story())
    assert tried == [1, 1]
