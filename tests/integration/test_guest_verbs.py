"""Verbs about a running container: kill, freeze, limits, cards, files, users."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from helperlab import Keeper, Lab, cards, lab, running, text_of, whole
from needs import needs
from waiting import PATIENCE, eventually
from wirt.errors import Conflict, Invalid, NotFound, WirtError
from wirt.linux import usage
from wirt.model.guest import GuestSpec
from wirt.model.names import new_id
from wirt.model.resources import Resources
from wirt.privileged import protocol as p
from wirt.privileged.client import Helper

pytestmark = needs("root", "crun", "keeper", "overlay", "netns", "busybox", "nft")


@pytest.fixture
def box(instance_name: str, tmp_path: Path) -> Iterator[Lab]:
    with lab(instance_name, tmp_path) as made:
        yield made
        assert made.settled() == []


def test_kill_ends_a_fork_bomb(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        bomb = "for i in 1 2 3 4 5 6 7 8; do (while :; do sleep 0 & done) & done; wait"
        spec = GuestSpec(image="x", resources=Resources(pids=200))
        launch = box.launch("sh", "-c", bomb, spec=spec)
        keeper, _ = await running(box, helper, launch)
        async with asyncio.timeout(PATIENCE):
            while len((await helper.call(p.ListProcesses(id=launch.id)))[0].pids) < 20:
                pass
        await helper.call(p.KillGuest(id=launch.id))
        event = await keeper.exit()
        assert event["code"] == ["137"]
        assert (await helper.call(p.ListProcesses(id=launch.id)))[0].pids == ()
        await helper.call(p.ReleaseGuest(id=launch.id))

    box.run(story)


def test_freeze_stops_and_thaw_goes_on(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launch = box.launch("sh", "-c", "while :; do :; done")
        keeper, _ = await running(box, helper, launch)
        group = box.layout.cgroup(launch.id)
        await helper.call(p.FreezeGuest(id=launch.id, frozen=True))
        assert box.cgroups.frozen(group)
        first = usage.read(box.cgroups, group).cpu_ns
        await asyncio.sleep(0.1)
        assert usage.read(box.cgroups, group).cpu_ns == first
        await helper.call(p.FreezeGuest(id=launch.id, frozen=False))
        await eventually(lambda: usage.read(box.cgroups, group).cpu_ns != first, "it goes on")
        await helper.call(p.FreezeGuest(id=launch.id, frozen=True))
        await helper.call(p.KillGuest(id=launch.id))
        assert (await keeper.exit())["code"] == ["137"], "frozen processes die too"
        await helper.call(p.ReleaseGuest(id=launch.id))
        with pytest.raises(NotFound):
            await helper.call(p.FreezeGuest(id=launch.id, frozen=True))

    box.run(story)


def test_limits_grow_and_shrink_while_it_runs(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        mib = 1024 * 1024
        spec = GuestSpec(image="x", resources=Resources(memory=64 * mib, pids=50, cpu_millis=500))
        launch = box.launch("sleep", "100", spec=spec)
        keeper, _ = await running(box, helper, launch)
        group = box.layout.cgroup(launch.id)
        assert usage.read(box.cgroups, group).memory_limit == 64 * mib
        for size in (256, 32):
            both = Resources(memory=size * mib, memory_swap=2 * size * mib)
            await helper.call(p.LimitGuest(id=launch.id, resources=both))
            assert usage.read(box.cgroups, group).memory_limit == size * mib
        await helper.call(
            p.LimitGuest(id=launch.id, resources=Resources(cpu_millis=1500, pids=7, cpuset="0"))
        )
        assert _limit(box, "pids", group, "pids.max") == "7"
        assert _limit(box, "cpuset", group, "cpuset.cpus") == "0"
        with pytest.raises(Invalid, match="4095"):
            await helper.call(p.LimitGuest(id=launch.id, resources=Resources(cpuset="4095")))
        most = usage.read(box.cgroups, group).memory_limit
        assert most is not None
        for wish, limit in ((mib, most), (2 * most, 2 * most), (most, 2 * most)):
            await helper.call(
                p.LimitGuest(id=launch.id, resources=Resources(memory=wish), machine=True)
            )
            assert usage.read(box.cgroups, group).memory_limit == limit
        assert usage.read(box.cgroups, group).pids == 1
        await keeper.link.close()
        await helper.call(p.ReleaseGuest(id=launch.id))

    box.run(story)


def _limit(box: Lab, controller: str, group: str, name: str) -> str:
    directory = box.cgroups.directory(controller, group)
    assert directory is not None
    return (directory / name).read_text().strip()


def test_out_of_memory_is_told(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        spec = GuestSpec(image="x", resources=Resources(memory=8 * 1024 * 1024))
        launch = box.launch("dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1", spec=spec)
        keeper, _ = await running(box, helper, launch)
        event = await keeper.exit()
        assert (event["code"], event["oom"]) == (["137"], ["1"])
        await keeper.link.close()
        await helper.call(p.ReleaseGuest(id=launch.id))

    box.run(story)


def test_sharing_another_guests_network(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        first = box.launch("sleep", "100", cards=1)
        keeper, _ = await running(box, helper, first)
        assert first.links
        second = box.launch("ip", "-o", "-4", "addr", network=f"guest:{first.id}")
        code, text = await whole(box, helper, second)
        assert code == 0
        assert first.links[0].address in text
        await keeper.link.close()
        await helper.call(p.ReleaseGuest(id=first.id))
        with pytest.raises(NotFound, match="does not run"):
            await helper.call(box.launch(network=f"guest:{first.id}"))

    box.run(story)


def test_cards_come_and_go(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launch = box.launch("sleep", "100", cards=1)
        keeper, pid = await running(box, helper, launch)
        (link,) = launch.links
        more = msgspec.structs.replace(
            link, interface="eth1", address="10.213.0.250/24", mac="02:00:00:00:99:99", gateway=""
        )
        await helper.call(p.ConnectGuest(id=launch.id, link=more))
        assert cards(pid) == {"lo", "eth0", "eth1"}
        with pytest.raises(Conflict, match="eth1 already"):
            await helper.call(p.ConnectGuest(id=launch.id, link=more))
        for _ in range(2):
            gone = p.DisconnectGuest(id=launch.id, interface="eth0", gateway=link.gateway)
            await helper.call(gone)
        assert cards(pid) == {"lo", "eth1"}
        routes = [line.split()[:2] for line in text_of(f"/proc/{pid}/net/route").splitlines()]
        assert ["eth1", "00000000"] in routes, "the other card is the way out now"
        bad = msgspec.structs.replace(more, interface="eth2", bridge="nosuch")
        with pytest.raises(WirtError, match="nosuch"):
            await helper.call(p.ConnectGuest(id=launch.id, link=bad))
        assert cards(pid) == {"lo", "eth1"}
        user, _ = await helper.call(p.ResolveUser(id=launch.id, user="app"))
        assert (user.uid, user.gid, user.groups, user.home) == (1000, 1001, (44,), "/tmp")
        await helper.call(p.UpdateFiles(id=launch.id, files={"hosts": "10.0.0.1 new\n"}))
        assert text_of(f"/proc/{pid}/root/etc/hosts") == "10.0.0.1 new\n"
        await keeper.link.close()
        await helper.call(p.ReleaseGuest(id=launch.id))

    box.run(story)


def test_unknown_ids_are_no_error_where_a_verb_is_idempotent(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        nobody = new_id()
        for verb in (
            p.KillGuest(id=nobody, keeper=True),
            p.ReleaseGuest(id=nobody),
            p.ForgetGuest(id=nobody),
        ):
            await helper.call(verb)
        assert (await helper.call(p.ListProcesses(id=nobody)))[0].pids == ()
        with pytest.raises(Invalid):
            await helper.call(p.ForgetGuest(id="../../.."))

    box.run(story)


def test_signals_of_the_keeper_do_not_matter_to_a_release(box: Lab) -> None:
    """A keeper that was killed leaves its guest running until it is released."""

    async def story(helper: Helper) -> None:
        launch = box.launch("sleep", "100", cards=1)
        launched, (fd,) = await helper.call(launch)
        keeper = await Keeper.of(box, launch.id)
        await keeper.start()
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)
        await keeper.link.close()
        assert launched.keeper_pid > 0
        assert len(box.cgroups.processes(box.layout.cgroup(launch.id))) == 1
        await helper.call(p.ReleaseGuest(id=launch.id))

    box.run(story)
