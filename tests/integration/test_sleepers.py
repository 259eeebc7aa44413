"""The helper hears what comes for guests that sleep; whom it cannot hear, it does not let sleep."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from helperlab import Lab, lab, running
from needs import needs
from waiting import eventually
from wirt.errors import NotFound, Unsupported
from wirt.guest.keeper import Request
from wirt.model.guest import GuestSpec
from wirt.model.names import new_id
from wirt.privileged import protocol as p
from wirt.privileged.client import Helper
from wirt.privileged.holds import Woken

pytestmark = needs("root", "crun", "keeper", "overlay", "netns", "busybox", "nft")


@pytest.fixture
def box(instance_name: str, tmp_path: Path) -> Iterator[Lab]:
    with lab(instance_name, tmp_path) as made:
        yield made


async def started(box: Lab, helper: Helper) -> tuple[str, str]:
    """Id and address of a guest with a card that does nothing."""
    launch = box.launch("sleep", "1000", cards=1)
    keeper, _ = await running(box, helper, launch)
    await keeper.link.close()
    return launch.id, launch.links[0].address.partition("/")[0]


async def asleep(box: Lab, helper: Helper, guest: str, *, typed: bool = False) -> int:
    """The end of the pipe of a guest that was put to sleep."""
    end = await watch(helper, guest, typed=typed)
    await helper.call(p.FreezeGuest(id=guest, frozen=True, asleep=True))
    assert box.cgroups.frozen(box.layout.cgroup(guest))
    return end


async def watch(helper: Helper, guest: str, *, typed: bool = False) -> int:
    _, (end,) = await helper.call(p.WatchTraffic(id=guest, typed=typed))
    return end


async def attached(box: Lab, helper: Helper, spec: GuestSpec) -> tuple[str, socket.socket]:
    """A guest that says each line twice, and the end of a client that is attached to it."""
    launch = box.launch("cat", spec=spec)
    keeper, _ = await running(box, helper, launch)
    ours, theirs = socket.socketpair()
    with theirs:
        wanted = {"stdin": ["1"], "stdout": ["1"], "mux": ["0"]}
        await keeper.link.request(Request.ATTACH, wanted, descriptor=theirs.fileno())
    await keeper.link.close()
    ours.settimeout(20)
    return launch.id, ours


async def told(end: int) -> Woken | None:
    """What comes out of the pipe; None when it just ends."""
    os.set_blocking(end, True)
    try:
        data = await asyncio.wait_for(asyncio.to_thread(os.read, end, 4096), 20)
    finally:
        os.close(end)
    return msgspec.json.decode(data, type=Woken) if data else None


def ask(box: Lab, address: str) -> None:
    """Ask who has an address, and send to whoever answers."""
    box.inside("sh", "-c", f"busybox ping -c 1 -W 1 {address} || true")


def thawed(box: Lab, guest: str) -> bool:
    return not box.cgroups.frozen(box.layout.cgroup(guest))


def test_a_frame_for_it_wakes_it(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        guest, address = await started(box, helper)
        end = await asleep(box, helper, guest)
        before = time.time_ns()
        await asyncio.to_thread(ask, box, address)
        woken = await told(end)
        assert woken is not None
        assert thawed(box, guest)
        assert woken.why == "traffic"
        assert before <= woken.at <= time.time_ns()
        assert 0 <= woken.micros < 1_000_000

    box.run(story)


def test_what_comes_for_others_does_not(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        guest, _ = await started(box, helper)
        _, elsewhere = await started(box, helper)
        end = await asleep(box, helper, guest)
        await asyncio.to_thread(ask, box, elsewhere)
        await asyncio.to_thread(ask, box, "10.213.0.9")  # nobody's: all hear the question
        with pytest.raises(BlockingIOError):
            os.read(end, 1)
        assert not thawed(box, guest)
        os.close(end)

    box.run(story)


OPEN = GuestSpec(image="busybox", stdin_open=True, stdin_once=True)


@pytest.mark.parametrize("tty", [False, True])
def test_what_is_typed_wakes_it_and_arrives(box: Lab, tty: bool) -> None:
    async def story(helper: Helper) -> None:
        guest, client = await attached(box, helper, replace(OPEN, tty=tty))
        with client:
            for line in (b"one\n", b"two\n"):
                end = await asleep(box, helper, guest, typed=True)
                client.sendall(line)
                assert await told(end) == Woken(why="input")
                assert thawed(box, guest)
                shown = b""
                while line.strip() not in shown.replace(b"\r", b""):
                    shown += await asyncio.to_thread(client.recv, 100)

    box.run(story)


def test_the_end_of_its_input_wakes_it(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        guest, client = await attached(box, helper, OPEN)
        end = await asleep(box, helper, guest, typed=True)
        client.close()
        assert await told(end) == Woken(why="input")
        await eventually(lambda: not box.cgroups.processes(box.layout.cgroup(guest)), "it ends")

    box.run(story)


def test_what_was_typed_before_it_was_frozen_counts(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        guest, client = await attached(box, helper, OPEN)
        with client:
            end = await watch(helper, guest, typed=True)
            client.sendall(b"one\n")
            assert await told(end) == Woken(why="input")
            await helper.call(p.FreezeGuest(id=guest, frozen=True, asleep=True))
            assert thawed(box, guest)

    box.run(story)


def test_what_is_typed_while_the_daemon_is_gone_wakes_it(box: Lab) -> None:
    async def fall_asleep(helper: Helper) -> tuple[str, socket.socket]:
        guest, client = await attached(box, helper, OPEN)
        os.close(await asleep(box, helper, guest, typed=True))
        return guest, client

    guest, client = box.run(fall_asleep)
    assert not thawed(box, guest)

    async def wait(helper: Helper) -> None:
        client.sendall(b"one\n")
        await eventually(lambda: thawed(box, guest), "it is thawed", 5)
        assert await asyncio.to_thread(client.recv, 100) == b"one\n"

    with client:
        box.run(wait)


def test_what_is_typed_does_not_end_a_pause_of_its_users(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        guest, client = await attached(box, helper, OPEN)
        with client:
            await helper.call(p.FreezeGuest(id=guest, frozen=True))
            client.sendall(b"one\n")
            await asyncio.sleep(0.3)
            assert not thawed(box, guest)
            await helper.call(p.FreezeGuest(id=guest, frozen=False))
            assert await asyncio.to_thread(client.recv, 100) == b"one\n"

    box.run(story)


def test_whose_keeper_tells_nothing_cannot_be_watched(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        guest, _ = await started(box, helper)  # its input is closed
        with pytest.raises(Unsupported, match="typed"):
            await watch(helper, guest, typed=True)

    box.run(story)


def test_what_came_before_it_was_frozen_counts(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        guest, address = await started(box, helper)
        end = await watch(helper, guest)
        await asyncio.to_thread(ask, box, address)
        await helper.call(p.FreezeGuest(id=guest, frozen=True, asleep=True))
        assert thawed(box, guest)
        assert await told(end) is not None

    box.run(story)


def test_whoever_listens_anew_misses_nothing(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        guest, _ = await started(box, helper)
        first = await asleep(box, helper, guest)
        second = await watch(helper, guest)
        assert await told(first) is None
        assert not thawed(box, guest)
        await helper.call(p.WatchTraffic(id=guest, on=False))
        assert await told(second) is None
        assert not thawed(box, guest), "it was asked to leave it as it is"

    box.run(story)


def test_a_pause_that_nobody_watches_is_left_alone(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        guest, address = await started(box, helper)
        await helper.call(p.FreezeGuest(id=guest, frozen=True))
        await asyncio.to_thread(ask, box, address)
        assert not thawed(box, guest)

    box.run(story)


def test_a_new_helper_lets_nobody_sleep(box: Lab) -> None:
    async def fall_asleep(helper: Helper) -> str:
        guest, _ = await started(box, helper)
        os.close(await asleep(box, helper, guest))
        return guest

    guest = box.run(fall_asleep)
    box.kill()
    assert not thawed(box, guest)
    box.start()

    async def answers(helper: Helper) -> None:
        await helper.call(p.Ping())

    box.run(answers)
    assert thawed(box, guest)


def test_killed_before_it_could_tell_it_has_woken_it(box: Lab) -> None:
    box.kill()
    box.start(fault="sleepers.thawed")

    async def story(helper: Helper) -> None:
        guest, address = await started(box, helper)
        end = await asleep(box, helper, guest)
        await asyncio.to_thread(ask, box, address)
        assert await told(end) is None
        assert thawed(box, guest)

    box.run(story)
    assert box.died()
    box.start()


def test_nobody_sleeps_when_the_daemon_has_gone_for_good(box: Lab) -> None:
    async def fall_asleep(helper: Helper) -> str:
        guest, _ = await started(box, helper)
        os.close(await asleep(box, helper, guest))
        return guest

    guest = box.run(fall_asleep)
    assert not thawed(box, guest), "not at once: a daemon may be started again"

    async def wait(helper: Helper) -> None:
        await eventually(lambda: thawed(box, guest), "it is thawed", 20)

    box.run(wait)


def test_new_cards_wake_it(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        guest, _ = await started(box, helper)
        end = await asleep(box, helper, guest)
        await helper.call(p.DisconnectGuest(id=guest, interface="eth0"))
        assert await told(end) == Woken(why="unwatched")
        assert thawed(box, guest)

    box.run(story)


def test_who_does_not_run_cannot_be_watched(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        with pytest.raises(NotFound):
            await watch(helper, new_id())

    box.run(story)
