"""Single races of a guest's end, each with the one order of events that hurts."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fakes.clock import tell
from fakes.daemonlife import DaemonLife
from fakes.world import World
from wirt.errors import Conflict, Exhausted, Invalid, NotFound, Unavailable, WirtError
from wirt.host.attach import MAX_WAITING, Streams
from wirt.host.execute import Execute
from wirt.host.running import MOST_EXECS
from wirt.host.waits import Condition
from wirt.layout import Layout
from wirt.model.guest import ExecSpec, GuestState, RestartName, RestartPolicy

ALWAYS = RestartPolicy(name=RestartName.ALWAYS)
ALL = Streams(stdin=True, stdout=True, stderr=True)

Story = Callable[[DaemonLife], Awaitable[None]]


class Calm(random.Random):
    """Chance that always says no: everything takes one turn, nothing fails, signals are heard."""

    def random(self) -> float:
        return 0.5

    def randrange(self, *_: int, **__: int) -> int:  # type: ignore[override]
        return 1


def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, story: Story) -> None:
    """Tell a story that begins with a fresh daemon."""

    async def whole() -> None:
        layout = Layout(name="t", state=tmp_path / "state", run=tmp_path / "run")
        daemon = DaemonLife(World(layout=layout, rng=Calm()), monkeypatch)
        await daemon.begin()
        await story(daemon)

    tell(whole())


async def until(there: Callable[[], bool]) -> None:
    """Let one turn of the loop after the other pass, and a little time."""
    for turn in range(1, 1_000_000):
        if there():
            return
        await asyncio.sleep(0 if turn % 100 else 0.0001)
    raise AssertionError("it never came to that")


def test_a_second_start_survives_the_end_of_a_first_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run's keeper ends after the second start has begun to wait for its turn."""

    async def story(d: DaemonLife) -> None:
        guest = await d.make("web")
        first = asyncio.ensure_future(d.verbs.launch.start(guest))
        await until(lambda: guest.id in d.world.keepers)
        second = asyncio.ensure_future(d.verbs.launch.start(guest))
        d.world.refusal = 1.0  # what first is about to run cannot be run
        await until(lambda: guest.id not in d.world.keepers)
        d.world.refusal = 0.0
        with pytest.raises(Invalid):
            await first
        await second
        await asyncio.sleep(60)
        assert d.roster.get(guest.id).status.state is GuestState.RUNNING
        assert d.running.ids() == (guest.id,)

    play(tmp_path, monkeypatch, story)


def test_a_stop_while_the_guest_ends_by_itself_keeps_it_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        guest = await d.make("web", restart=ALWAYS)
        await d.verbs.launch.start(guest)
        d.world.exits(guest.id, 1)
        await asyncio.sleep(0)  # the end has been heard, and is being dealt with
        await asyncio.sleep(0)
        assert await d.verbs.stop.stop(guest, 10)
        await asyncio.sleep(600)
        status = d.roster.get(guest.id).status
        assert (status.state, status.stopped_by_user) == (GuestState.EXITED, True)
        assert d.world.keepers == {}

    play(tmp_path, monkeypatch, story)


def test_a_stop_of_a_guest_that_is_just_coming_back_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        guest = await d.make("web", restart=ALWAYS)
        await d.verbs.launch.start(guest)
        d.world.exits(guest.id, 1)
        await until(lambda: guest.id not in d.world.keepers)
        await until(lambda: guest.id in d.world.keepers)
        assert d.roster.get(guest.id).status.state is GuestState.RESTARTING
        assert await d.verbs.stop.stop(guest, 10)
        await asyncio.sleep(600)
        assert d.world.keepers == {}
        assert d.roster.get(guest.id).status.state is GuestState.EXITED

    play(tmp_path, monkeypatch, story)


def test_a_restart_that_was_planned_before_a_good_run_does_not_happen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        guest = await d.make("web", restart=RestartPolicy(name=RestartName.ON_FAILURE))
        await d.verbs.launch.start(guest)
        d.world.exits(guest.id, 1)
        await until(lambda: d.roster.get(guest.id).status.state is GuestState.RESTARTING)
        await d.verbs.launch.start(guest)  # by hand, before its time
        d.world.exits(guest.id, 0)
        await asyncio.sleep(600)
        assert d.roster.get(guest.id).status.state is GuestState.EXITED

    play(tmp_path, monkeypatch, story)


def test_a_restart_goes_on_when_the_helper_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        guest = await d.make("web", restart=ALWAYS)
        await d.verbs.launch.start(guest)
        d.world.exits(guest.id, 1)
        await until(lambda: d.roster.get(guest.id).status.state is GuestState.RESTARTING)
        d.world.glitch = 1.0
        await asyncio.sleep(30)
        d.world.glitch = 0.0
        await asyncio.sleep(300)
        assert d.roster.get(guest.id).status.state is GuestState.RUNNING

    play(tmp_path, monkeypatch, story)


def test_what_cannot_be_noted_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(d: DaemonLife) -> None:
        guest = await d.make("web")
        d.world.full = True
        with pytest.raises(Exhausted):
            await d.verbs.launch.start(guest)
        await asyncio.sleep(60)
        assert (d.world.keepers, d.running.ids(), d.world.run_dirs()) == ({}, (), set())
        assert d.roster.get(guest.id).status.state is GuestState.CREATED

    play(tmp_path, monkeypatch, story)


def test_an_end_on_a_full_disk_is_told_and_put_right_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits is answered; ``stop`` and ``rm -f`` work once there is room."""

    async def story(d: DaemonLife) -> None:
        for name, verb in (("a", "stop"), ("b", "rm")):
            guest = await d.make(name)
            guest = await d.verbs.launch.start(guest)
            d.world.full = True
            with d.waits.expect(guest, Condition.NOT_RUNNING) as future:
                d.world.exits(guest.id, 3)
                assert (await asyncio.wait_for(future, 60)).code == 3
            d.world.full = False
            with pytest.raises(Unavailable, match="does not answer"):
                d.running.require(d.roster.get(guest.id))
            if verb == "stop":
                assert await d.verbs.stop.stop(guest, 1)
                assert d.roster.get(guest.id).status.state is GuestState.EXITED
            else:
                await d.verbs.remove.remove(guest, force=True)
                with pytest.raises(NotFound):
                    d.roster.get(guest.id)

    play(tmp_path, monkeypatch, story)


def test_a_bug_in_a_start_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        guest = await d.make("web")
        client, server = socket.socketpair()
        await d.attach.attach(guest, server.detach(), ALL)

        async def broken(*_: object, **__: object) -> None:
            raise OSError("too many open files")

        monkeypatch.setattr("fakes.world.FakeHandle.attach", broken)
        with d.waits.expect(guest, Condition.NEXT_EXIT) as future:
            with pytest.raises(WirtError, match="too many open files"):
                await d.verbs.launch.start(guest)
            assert (await asyncio.wait_for(future, 1)).code == 125
        assert client.recv(1) == b"", "hung up"
        client.close()

    play(tmp_path, monkeypatch, story)


def test_one_bad_client_does_not_leak_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        guest = await d.make("web")
        pairs = [socket.socketpair() for _ in range(3)]
        for _, server in pairs:
            await d.attach.attach(guest, server.detach(), ALL)

        async def refuses(*_: object, **__: object) -> None:
            raise Invalid("no")

        monkeypatch.setattr("fakes.world.FakeHandle.attach", refuses)
        with pytest.raises(Invalid):
            await d.verbs.launch.start(guest)
        for client, _ in pairs:
            assert client.recv(1) == b""
            client.close()

    play(tmp_path, monkeypatch, story)


def test_clients_that_went_away_make_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        guest = await d.make("web")
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
        for _ in range(2 * MAX_WAITING):
            d.attach.check(guest)
            client, server = socket.socketpair()
            await d.attach.attach(guest, server.detach(), ALL)
            client.close()
        d.attach.check(guest)
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - a count

    play(tmp_path, monkeypatch, story)


def test_two_starts_of_one_exec_run_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        ran: list[str] = []

        async def run(_: object, exec_id: str, *__: object) -> int:
            ran.append(exec_id)
            await asyncio.sleep(1)
            return 5

        monkeypatch.setattr("fakes.world.FakeHandle.execute", run, raising=False)
        guest = await d.verbs.launch.start(await d.make("web"))
        execute = Execute(roster=d.roster, running=d.running, bus=d.bus)
        process = execute.create(guest, ExecSpec(command=("true",)))
        for client in (execute.startable(process.id), execute.startable(process.id)):
            assert client is process
        results = await asyncio.gather(
            execute.start(process, None), execute.start(process, None), return_exceptions=True
        )
        assert sorted(type(result).__name__ for result in results) == ["Conflict", "NoneType"]
        assert (ran, process.code, process.failure) == ([process.id], None, "")

    play(tmp_path, monkeypatch, story)


def test_an_exec_that_failed_is_remembered_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        async def fails(*_: object) -> int:
            raise OSError("too many open files")

        monkeypatch.setattr("fakes.world.FakeHandle.execute", fails, raising=False)
        guest = await d.verbs.launch.start(await d.make("web"))
        execute = Execute(roster=d.roster, running=d.running, bus=d.bus)
        process = execute.create(guest, ExecSpec(command=("true",)))
        with pytest.raises(OSError, match="too many"):
            await execute.start(process, None)
        execute.create(guest, ExecSpec(command=("false",)))
        assert execute.find(process.id).ended.is_set()
        assert process.code == 126

    play(tmp_path, monkeypatch, story)


def test_execs_that_nobody_starts_are_bounded_and_end_with_the_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        guest = await d.verbs.launch.start(await d.make("web"))
        execute = Execute(roster=d.roster, running=d.running, bus=d.bus)
        for _ in range(MOST_EXECS):
            execute.create(guest, ExecSpec(command=("true",)))
        with pytest.raises(Exhausted, match="further processes"):
            execute.create(guest, ExecSpec(command=("true",)))
        d.world.exits(guest.id, 0)
        await asyncio.sleep(60)
        assert d.running.execs_of(guest.id) == []

    play(tmp_path, monkeypatch, story)


def test_a_guest_that_is_being_removed_is_not_said_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        guest = await d.make("web")
        removal = asyncio.ensure_future(d.verbs.remove.remove(guest))
        await until(lambda: d.roster.get(guest.id).status.state is GuestState.REMOVING)
        with pytest.raises((Conflict, NotFound)) as caught:
            await d.verbs.launch.start(guest)
        assert caught.value.code != "guest.running"
        await removal

    play(tmp_path, monkeypatch, story)


def test_a_restart_does_not_remove_what_vanishes_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(d: DaemonLife) -> None:
        guest = await d.make("web", remove_on_exit=True)
        await d.verbs.launch.start(guest)
        for _ in range(2):
            await d.verbs.stop.restart(guest, 1)
            assert d.roster.get(guest.id).status.state is GuestState.RUNNING
        with d.waits.expect(guest, Condition.REMOVED) as removed:
            d.world.exits(guest.id, 3)
            assert (await asyncio.wait_for(removed, 60)).code == 3
        with pytest.raises(NotFound):
            d.roster.get(guest.id)

    play(tmp_path, monkeypatch, story)


def test_nobody_waits_for_the_start_of_what_is_being_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who come after the removal has hung up on everybody would wait for ever."""

    async def story(d: DaemonLife) -> None:
        guest = await d.make("web")
        removal = asyncio.ensure_future(d.verbs.remove.remove(guest))
        d.attach.check(guest)
        await until(lambda: d.roster.get(guest.id).status.state is GuestState.REMOVING)
        with pytest.raises(Conflict, match="being removed"):
            d.attach.check(guest)
        for wait in (asyncio.sleep(0), removal):  # before and after the end of the removal
            client, server = socket.socketpair()
            with pytest.raises(NotFound, match="removed meanwhile"):
                await d.attach.attach(guest, server.detach(), ALL)
            assert client.recv(1) == b"", "hung up"
            client.close()
            await wait

    play(tmp_path, monkeypatch, story)
