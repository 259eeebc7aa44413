"""Random verbs of guests and groups at once: at no time is more promised than there is."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.clock import tell
from fakes.promises import ALWAYS, MIB, Host
from wirt.errors import WirtError
from wirt.governor.admission import shortage
from wirt.model.guest import Guest, RestartPolicy
from wirt.model.resources import Resources

OPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "stop", "update", "move", "group", "exit"]),
        st.sampled_from("abcd"),
        st.sampled_from(["", "g", "g/h"]),
        st.integers(0, 12),
    ),
    min_size=4,
    max_size=20,
)


async def act(h: Host, op: tuple[str, str, str, int]) -> None:
    verb, name, path, amount = op
    size = Resources(memory_reservation=100 * amount * MIB)
    await asyncio.sleep(h.world.rng.random())
    match verb:
        case "start":
            await h.start(name)
        case "stop":
            await h.daemon.verbs.stop.stop(h.daemon.roster.find(name), 1)
        case "update":
            await h.update(name, resources=size)
        case "move":
            await h.update(name, resources=size, group=path)
        case "exit":
            h.world.exits(h.daemon.roster.find(name).id, 1)
        case "group":
            await h.grouping.change(path or "g", size, expandable=amount % 2 == 0)


@settings(max_examples=80, deadline=None)
@given(OPS, st.integers(0, 2**32))
def test_whatever_happens_at_once_no_promise_is_broken(
    ops: list[tuple[str, str, str, int]], seed: int
) -> None:
    async def story(h: Host) -> None:
        await h.daemon.begin()
        await h.group("g", memory=600)
        await h.group("g/h", memory=200, expandable=True)
        for name in "abcd":
            await h.make(name, memory=100, restart=ALWAYS if name == "a" else RestartPolicy())
        save = h.daemon.roster.save

        async def watched(guest: Guest) -> None:
            await save(guest)
            assert shortage(h.daemon.admit.tree(), h.daemon.admit.host()) is None

        h.monkeypatch.setattr(h.daemon.roster, "save", watched)
        done = await asyncio.gather(*(act(h, op) for op in ops), return_exceptions=True)
        for one in done:
            assert one is None or isinstance(one, WirtError), one
        assert shortage(h.daemon.admit.tree(), h.daemon.admit.host()) is None

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        host = Host(Path(folder), monkeypatch, random.Random(seed))
        with contextlib.suppress(asyncio.CancelledError):
            tell(story(host))
