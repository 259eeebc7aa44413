"""A daemon that comes back on a loaded host: whose keeper is slow is not dead."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fakes.daemonlife import DaemonLife
from unit.test_host_ends import play
from wirt.errors import Unavailable
from wirt.model.guest import GuestState


@pytest.mark.parametrize("then", ["answers", "is lost", "is stopped"])
def test_a_slow_keeper_is_waited_for_and_its_guest_runs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    async def story(d: DaemonLife) -> None:
        guest = await d.verbs.launch.start(await d.make("web"))
        d.life.over = True
        keeper = d.world.keepers[guest.id]
        keeper.stopped = True
        again = DaemonLife(d.world, monkeypatch)
        await again.begin()
        await asyncio.sleep(300)
        assert d.world.keepers == {guest.id: keeper}
        assert again.roster.get(guest.id).status.state is GuestState.RUNNING
        with pytest.raises(Unavailable, match="does not answer"):
            again.running.require(guest)
        if then == "is stopped":
            await again.verbs.stop.stop(guest, 1)
        else:
            keeper.stopped = False
        if then == "is lost":
            d.world.loses(guest.id)
        await asyncio.sleep(60)
        if then == "answers":
            assert again.running.ids() == (guest.id,)
            d.world.exits(guest.id, 5)
            await asyncio.sleep(60)
        status = again.roster.get(guest.id).status
        assert (status.state, d.world.keepers) == (GuestState.EXITED, {})
        assert status.exit_code == (5 if then == "answers" else 137)
        assert (again.verbs.adopt.slow(), len(again.nursery)) == ((), 0)

    play(tmp_path, monkeypatch, story)
