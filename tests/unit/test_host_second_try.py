"""A start that failed by what the host seemed to offer is tried once more without that."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fakes.daemonlife import DaemonLife
from fakes.world import STARTED, FakeHandle
from unit.test_host_ends import ALL, play
from wirt.errors import Unavailable
from wirt.model.guest import GuestState


def failing(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The first starts end as a machine's does whose kernel KVM cannot carry."""
    left = [None] * times

    async def start(handle: FakeHandle) -> tuple[int, int]:
        keeper = handle.link.keeper
        if left:
            left.pop()
            handle.world.exits(keeper.guest_id, 125, error="it aborted")
            raise Unavailable("it aborted", errno=5, exit=125)
        keeper.state = "running"
        return 77, STARTED

    monkeypatch.setattr(FakeHandle, "start", start)


def test_it_runs_at_the_second_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(d: DaemonLife) -> None:
        d.world.gives_up = True
        failing(monkeypatch, 1)
        guest = await d.verbs.launch.start(await d.make("web"))
        assert guest.status.state is GuestState.RUNNING
        assert (d.running.ids(), d.world.trusted) == ((guest.id,), 0)

    play(tmp_path, monkeypatch, story)


def test_what_fails_again_was_not_the_hosts_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        d.world.gives_up = True
        failing(monkeypatch, 2)
        guest = await d.make("web")
        with pytest.raises(Unavailable, match="it aborted"):
            await d.verbs.launch.start(guest)
        assert (d.world.trusted, d.world.keepers, d.world.run_dirs()) == (1, {}, set())
        assert (await d.verbs.launch.start(guest)).status.state is GuestState.RUNNING

    play(tmp_path, monkeypatch, story)


def test_without_anything_to_give_up_there_is_one_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        failing(monkeypatch, 1)
        guest = await d.make("web")
        with pytest.raises(Unavailable, match="it aborted"):
            await d.verbs.launch.start(guest)
        assert d.running.ids() == ()

    play(tmp_path, monkeypatch, story)


def test_whoever_was_attached_is_told_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The streams went with the first try: a second one would run unheard."""

    async def story(d: DaemonLife) -> None:
        d.world.gives_up = True
        failing(monkeypatch, 1)
        guest = await d.make("web")
        client, server = socket.socketpair()
        await d.attach.attach(guest, server.detach(), ALL)
        with pytest.raises(Unavailable) as caught:
            await d.verbs.launch.start(guest)
        assert caught.value.hint == "machines are emulated from now on: try again"
        assert client.recv(1) == b""
        client.close()
        assert (d.running.ids(), d.world.trusted) == ((), 0)

    play(tmp_path, monkeypatch, story)
