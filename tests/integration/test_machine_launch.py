"""Machines by the real helper: image disk, cards, published ports, freezing, limits, leftovers."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

import container_values
from helperlab import LAYER, NETWORK, Keeper, Lab, lab, output, running, whole
from machinebox import host
from needs import needs
from waiting import eventually
from wirt.engine.microvm import MicrovmEngine
from wirt.engine.protocol import Process
from wirt.errors import Conflict
from wirt.linux import procfs
from wirt.model.guest import GuestSpec
from wirt.model.names import new_id
from wirt.model.network import Endpoint, PortMap
from wirt.model.resources import Resources
from wirt.privileged import protocol as p
from wirt.privileged.client import Helper
from wirt.qemu.host import Machines

pytestmark = needs(
    "root", "keeper", "overlay", "netns", "busybox", "nft", "tap", "qemu", "erofs", "agent",
    "guest-kernel",
)  # fmt: skip
IMAGE = "sha256:" + "a" * 64


@pytest.fixture
def box(instance_name: str, tmp_path: Path) -> Iterator[Lab]:
    with lab(instance_name, tmp_path) as made:

        async def disk(helper: Helper) -> None:
            await helper.call(p.MakeImageDisk(image_id=IMAGE, layers=(LAYER,)))

        made.run(disk)
        yield made
        assert made.settled() == []


def _launch(box: Lab, *argv: str, address: str = "10.213.0.20") -> p.LaunchGuest:
    """A microVM with one card, as the daemon plans it."""
    facts = host(box.layout.state)
    engine = MicrovmEngine(
        layout=box.layout,
        facts=container_values.HOST,
        host=Machines(facts),
        helper=Helper(Path("/none")),
    )
    begin = container_values.start(GuestSpec(image="busybox"))
    place = Endpoint(
        network_id=NETWORK, network="bridge", address=address, prefix=24, gateway="10.213.0.1",
        mac="02:00:00:00:00:20", interface="eth0",
    )  # fmt: skip
    process = Process(argv=argv, env=("PATH=/bin",), working_dir="/", user="", stop_signal=15)
    start = replace(
        begin,
        guest=replace(begin.guest, id=new_id(), endpoints=(place,)),
        process=process,
        bridges={NETWORK: box.layout.default_bridge},
        image=replace(begin.image, id=IMAGE, chain_ids=(LAYER,)),
    )
    return engine.plan(start).launch


def _fetched(box: Lab, url: str) -> str | None:
    """What is at ``url``, or None while nobody listens there."""
    try:
        return box.inside("busybox", "wget", "-qO-", url)
    except subprocess.CalledProcessError:
        return None


def test_a_machine_reaches_the_bridge_and_leaves_nothing(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launch = _launch(box, "sh", "-c", "ping -c1 -W5 10.213.0.1 && ip route && ip link")
        code, text = await whole(box, helper, launch)
        assert code == 0, text
        assert "default via 10.213.0.1 dev eth0" in text
        assert "mtu 1400" in text
        assert box.settled() == []
        await helper.call(p.ForgetGuest(id=launch.id))
        assert not box.layout.guest_state(launch.id).exists()

    box.run(story)


def test_a_published_port_leads_into_a_machine(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launch = _launch(box, "httpd", "-f", "-p", "80", "-h", "/data")
        ports = (PortMap(guest_port=80, host_port=18081),)
        keeper, _ = await running(box, helper, msgspec.structs.replace(launch, ports=ports))
        url = "http://127.0.0.1:18081/file"
        await eventually(lambda: _fetched(box, url) == "from the image\n", "it is served")
        await keeper.link.close()
        await helper.call(p.ReleaseGuest(id=launch.id))

    box.run(story)


def test_freezing_limiting_and_killing(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launch = _launch(box, "sh", "-c", "while :; do echo tick; sleep 0.05; done")
        keeper, pid = await running(box, helper, launch)
        with pytest.raises(Conflict):
            await helper.call(launch)
        assert box.cgroups.directory("memory", box.layout.cgroup(launch.id)) is not None
        await helper.call(p.FreezeGuest(id=launch.id, frozen=True))
        before, now = -1, len(output(box.layout, launch.id))
        while before != now:  # what was said before the freeze may still be on its way to the log
            await asyncio.sleep(0.5)
            before, now = now, len(output(box.layout, launch.id))
        await helper.call(p.FreezeGuest(id=launch.id, frozen=False))
        await eventually(lambda: len(output(box.layout, launch.id)) > before, "it goes on")
        limits = Resources(cpu_millis=500)
        await helper.call(p.LimitGuest(id=launch.id, resources=limits, machine=True))
        assert pid in box.cgroups.processes(box.layout.cgroup(launch.id))
        await helper.call(p.KillGuest(id=launch.id))
        event = await keeper.exit()
        assert event["code"] == ["137"]
        assert procfs.state(pid) in {None, "Z"}
        await keeper.link.close()
        await helper.call(p.ReleaseGuest(id=launch.id))

    box.run(story)


def test_a_missing_image_disk_is_told_and_undone(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launch = _launch(box, "true")
        assert launch.machine is not None
        other = msgspec.structs.replace(launch.machine, image_id="sha256:" + "b" * 64)
        with pytest.raises(Exception, match="is missing"):
            await helper.call(msgspec.structs.replace(launch, machine=other))
        assert box.settled() == []

    box.run(story)


def test_a_keeper_that_is_killed_takes_the_machine_along(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launch = _launch(box, "sleep", "1000")
        launched, (pidfd,) = await helper.call(launch)
        os.close(pidfd)
        keeper = await Keeper.of(box, launch.id)
        await keeper.start()
        await helper.call(p.KillGuest(id=launch.id, keeper=True))
        assert procfs.state(launched.keeper_pid) in {None, "Z"}
        await keeper.link.close()
        await helper.call(p.ReleaseGuest(id=launch.id))

    box.run(story)
