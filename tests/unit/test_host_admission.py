"""No promise is given that cannot be kept: not at a start, a restart, a change, nor two at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.clock import tell
from fakes.daemonlife import FakeEngine
from fakes.promises import ALWAYS, MIB, Calm, Host, until
from wirt.engine.protocol import Size
from wirt.errors import Conflict, Exhausted, Invalid, NotFound, Unsupported, WirtError
from wirt.model.guest import Guest, GuestClass, GuestState
from wirt.model.resources import Resources

Story = Callable[[Host], Awaitable[None]]
Play = Callable[[Story], None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Tell a story that begins with a fresh daemon."""

    def told(story: Story) -> None:
        async def whole() -> None:
            host = Host(tmp_path, monkeypatch, Calm())
            await host.daemon.begin()
            await story(host)

        tell(whole())

    return told


def test_a_start_that_would_break_a_promise_is_refused_with_the_figures(play: Play) -> None:
    async def story(h: Host) -> None:
        await h.run("big", cpu=1500, memory=256)
        await h.run("free")  # no promise, so none can be broken
        with pytest.raises(Exhausted) as caught:
            await h.run("more", cpu=600)
        error = caught.value
        assert error.code == "governor.promise"
        assert error.message == (
            "guest 'more' needs 0.6 CPUs guaranteed, 0.5 CPUs are unreserved on this host"
        )
        assert error.hint is not None
        assert "guest 'big' has the most to release, 1.5 CPUs" in error.hint
        assert error.facts == {
            "resource": "cpu", "group": "", "needed": 600, "free": 500, "releasable": "big",
            "releasable_amount": 1500, "exit": 125,
        }  # fmt: skip
        assert h.state("more") is GuestState.CREATED
        assert h.world.keepers.keys() == {h.daemon.roster.find(name).id for name in ("big", "free")}
        await h.daemon.verbs.stop.stop(h.daemon.roster.find("big"), 1)
        await h.start("more")

    play(story)


def test_what_guests_need_to_boot_must_fit(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(h: Host) -> None:
        await h.run("one")
        await h.make("two")
        with pytest.raises(Exhausted) as caught:
            await h.start("two")
        assert caught.value.message == (
            "guest 'two' needs at least 600MiB of memory, and others leave 400MiB on this host"
        )
        await h.daemon.verbs.stop.stop(h.daemon.roster.find("one"), 1)
        await h.start("two")

    monkeypatch.setattr(FakeEngine, "size", lambda *_: Size(memory=700 * MIB, floor=600 * MIB))
    play(story)


def test_of_two_starts_at_once_only_one_gets_the_last_of_it(play: Play) -> None:
    async def story(h: Host) -> None:
        await h.make("one", memory=600)
        await h.make("other", memory=600)
        done = await asyncio.gather(h.start("one"), h.start("other"), return_exceptions=True)
        assert sum(isinstance(one, Exhausted) for one in done) == 1
        assert sum(isinstance(one, Guest) for one in done) == 1

    play(story)


def test_a_failed_start_gives_its_promise_back(play: Play) -> None:
    async def story(h: Host) -> None:
        await h.make("one", memory=600)
        h.world.refusal = 1.0
        with pytest.raises(WirtError):
            await h.start("one")
        h.world.refusal = 0.0
        await h.run("other", memory=600)

    play(story)


def test_a_paused_guest_keeps_its_promise(play: Play) -> None:
    async def story(h: Host) -> None:
        one = await h.run("one", memory=600)
        await h.daemon.verbs.signals.pause(one, True)
        with pytest.raises(Exhausted):
            await h.run("other", memory=600)
        await h.daemon.verbs.signals.pause(one, False)
        assert h.state("one") is GuestState.RUNNING

    play(story)


def test_a_guest_that_is_to_be_restarted_keeps_its_promise(play: Play) -> None:
    async def story(h: Host) -> None:
        one = await h.run("one", memory=600, restart=ALWAYS)
        await h.make("other", memory=600)
        h.world.exits(one.id, 1)
        await until(lambda: h.state("one") is GuestState.RESTARTING)
        with pytest.raises(Exhausted):
            await h.start("other")
        await asyncio.sleep(10)
        assert h.state("one") is GuestState.RUNNING

    play(story)


def test_a_guest_keeps_its_promise_through_a_restart(play: Play) -> None:
    async def story(h: Host) -> None:
        one = await h.run("one", memory=600)
        await h.make("other", memory=600)
        again = asyncio.ensure_future(h.daemon.verbs.stop.restart(one, 1))
        await until(lambda: h.state("one") is GuestState.EXITED)
        with pytest.raises(Exhausted):
            await h.start("other")
        await again
        assert h.state("one") is GuestState.RUNNING
        await h.daemon.verbs.stop.stop(one, 1)
        await h.start("other")
        with pytest.raises(Exhausted):  # it was down, so it had nothing to keep
            await h.daemon.verbs.stop.restart(one, 1)

    play(story)


def test_a_restart_policy_is_told_no_too(play: Play) -> None:
    """The host has become smaller meanwhile."""

    async def story(h: Host) -> None:
        one = await h.run("one", memory=600, restart=ALWAYS)
        h.world.capacity.memory = 500 * MIB
        h.world.exits(one.id, 1)
        await asyncio.sleep(10)
        assert h.state("one") is GuestState.EXITED
        error = h.daemon.roster.find("one").status.error
        assert "needs 600MiB of memory guaranteed, 500MiB are unreserved" in error

    play(story)


def test_a_new_daemon_takes_over_what_runs_and_starts_what_fits(play: Play) -> None:
    async def story(h: Host) -> None:
        for name in ("a", "b", "c"):
            await h.run(name, memory=300, restart=ALWAYS)
        h.world.capacity.memory = 550 * MIB
        h.world.exits(h.daemon.roster.find("b").id, 1)
        h.world.exits(h.daemon.roster.find("c").id, 1)
        await h.next_daemon()
        await asyncio.sleep(200)
        assert h.state("a") is GuestState.RUNNING
        assert [h.state(name) for name in ("b", "c")] == [GuestState.EXITED] * 2
        h.world.capacity.memory = 100 * MIB
        await h.next_daemon()
        await asyncio.sleep(10)
        assert h.state("a") is GuestState.RUNNING  # what runs is not killed for a promise
        await h.run("free")
        with pytest.raises(Exhausted):
            await h.run("d", memory=6)

    play(story)


def test_an_update_is_admitted_as_a_whole_or_not_at_all(play: Play) -> None:
    async def story(h: Host) -> None:
        one = await h.run("one", cpu=500, memory=300)
        await h.run("two", memory=500)
        before = h.daemon.roster.get(one.id)
        wish = Resources(cpu_reservation=100, memory_reservation=501 * MIB, cpu_millis=800)
        with pytest.raises(Exhausted, match="needs 501MiB of memory guaranteed, 500MiB are"):
            await h.update("one", resources=wish, guest_class=GuestClass.BATCH)
        keeper = h.world.keepers[one.id]
        assert h.daemon.roster.get(one.id) == before
        assert keeper.limited == []
        await h.update("one", resources=replace(wish, memory_reservation=500 * MIB), oom_rank=7)
        spec = h.daemon.roster.get(one.id).spec
        assert (spec.resources.cpu_reservation, spec.oom_rank) == (100, 7)
        assert len(keeper.limited) == 1
        with pytest.raises(Exhausted):
            await h.run("three", memory=6)

    play(story)


@pytest.mark.parametrize(
    ("wish", "kind", "code"),
    [
        ({"resources": Resources(cpu_reservation=-1)}, Invalid, "governor.out-of-range"),
        ({"resources": Resources(memory_shares=10**30)}, Invalid, "governor.out-of-range"),
        ({"resources": Resources(memory=6 * MIB, memory_reservation=7 * MIB)}, Invalid,
         "governor.reservation-above-limit"),
        ({"resources": Resources(net_limit=8000)}, Unsupported, "governor.not-divided"),
        ({"resources": Resources(io_shares=1)}, Unsupported, "governor.not-divided"),
        ({"oom_rank": 1001}, Invalid, "governor.out-of-range"),
        ({"oom_rank": -1}, Invalid, "governor.out-of-range"),
        ({"group": "nosuch"}, NotFound, "group.not-found"),
    ],
)  # fmt: skip
def test_what_can_never_be_is_refused_before_anything_changes(
    play: Play, wish: dict[str, Any], kind: type[WirtError], code: str
) -> None:
    async def story(h: Host) -> None:
        one = await h.run("one")
        before = h.daemon.roster.get(one.id)
        with pytest.raises(kind) as caught:
            await h.update("one", **wish)
        assert caught.value.code == code
        assert h.daemon.roster.get(one.id) == before
        with pytest.raises(kind) as caught:
            await h.daemon.make("two", **wish)
        assert caught.value.code == code
        assert not h.daemon.roster.has_name("two")

    play(story)


def test_a_guest_that_shrinks_gives_back_only_when_it_is_done(play: Play) -> None:
    async def story(h: Host) -> None:
        await h.run("one", memory=600)
        await h.make("two", memory=600)
        began = asyncio.Event()
        goes_on = asyncio.Event()
        handle = h.daemon.running.get(h.daemon.roster.find("one").id)
        assert handle is not None

        async def slow(_: Resources) -> None:
            began.set()
            await goes_on.wait()
            raise Conflict("more than that is in use already", code="limit.memory")

        h.monkeypatch.setattr(type(handle.handle), "limit", lambda _, wish: slow(wish))
        less = asyncio.ensure_future(
            h.update("one", resources=Resources(memory_reservation=100 * MIB))
        )
        await began.wait()
        with pytest.raises(Exhausted):
            await h.start("two")
        goes_on.set()
        with pytest.raises(Conflict):
            await less
        with pytest.raises(Exhausted):
            await h.start("two")

    play(story)


def test_groups_hold_their_promises_at_every_level(play: Play) -> None:
    async def story(h: Host) -> None:
        await h.group("sales", memory=500)
        await h.group("sales/web", memory=200)
        await h.run("web", memory=150, group="sales/web")
        with pytest.raises(Exhausted, match="50MiB are unreserved in group 'sales/web'") as caught:
            await h.run("web2", memory=100, group="sales/web")
        assert "'wirt group set' gives group 'sales/web' more" in str(caught.value.hint)
        await h.grouping.change("sales/web", Resources(), expandable=True)
        await h.start("web2")
        with pytest.raises(Exhausted, match="250MiB are unreserved in group 'sales'"):
            await h.run("db", memory=251, group="sales")
        with pytest.raises(Exhausted, match="500MiB are unreserved on this host"):
            await h.run("big", memory=501)
        with pytest.raises(Exhausted, match="250MiB of memory would be promised in group 'sales'"):
            await h.grouping.change(
                "sales", Resources(memory_reservation=249 * MIB), expandable=None
            )
        with pytest.raises(Exhausted, match="of memory would be promised on this host"):
            await h.group("it", memory=600)
        web = h.ledger.of("sales/web")
        assert [one.name for one in web.guests] == ["web", "web2"]
        memory = h.ledger.of("sales").portions["memory"]
        assert (memory.reservation, memory.promised) == (500 * MIB, 250 * MIB)
        assert [one.path for one in h.ledger.all()] == ["", "sales", "sales/web"]

    play(story)


def test_a_group_goes_only_when_nothing_is_in_it(play: Play) -> None:
    async def story(h: Host) -> None:
        with pytest.raises(NotFound, match="no such group: sales"):
            await h.group("sales/web")
        await h.group("sales")
        await h.group("sales/web")
        with pytest.raises(Conflict, match="exists already"):
            await h.group("sales")
        one = await h.make("one", group="sales/web")
        with pytest.raises(Conflict, match="is not empty: sales/web"):
            await h.grouping.remove("sales")
        with pytest.raises(Conflict, match="is not empty: one"):
            await h.grouping.remove("sales/web")
        await h.update("one", group="")
        assert h.daemon.roster.get(one.id).spec.group == ""
        await h.grouping.remove("sales/web")
        await h.grouping.remove("sales")
        assert h.daemon.groups.all() == ()

    play(story)


def test_a_group_does_not_go_while_a_guest_comes(play: Play) -> None:
    async def story(h: Host) -> None:
        await h.group("sales")
        made, gone = await asyncio.gather(
            h.make("one", group="sales"), h.grouping.remove("sales"), return_exceptions=True
        )
        assert isinstance(made, NotFound) != isinstance(gone, Conflict)
        assert h.daemon.roster.has_name("one") is isinstance(gone, Conflict)

    play(story)


@pytest.mark.parametrize(
    "wish", [Resources(cpuset="0"), Resources(pids=5), Resources(memory_swap=10**9)]
)
def test_a_group_has_no_cpu_list_swap_or_processes(play: Play, wish: Resources) -> None:
    async def story(h: Host) -> None:
        with pytest.raises(Unsupported, match="a group has no"):
            await h.grouping.create("sales", wish, expandable=False)

    play(story)
