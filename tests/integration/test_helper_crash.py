"""The helper dies at every step of launching, releasing and forgetting; a sweep puts it right."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import wirt.privileged
from helperlab import Keeper, Lab, lab, running, whole
from needs import needs
from waiting import eventually
from wirt.engine.protocol import ResolvedMount
from wirt.errors import Internal, Unavailable
from wirt.model.names import new_id
from wirt.model.network import PortMap
from wirt.model.volume import MountKind
from wirt.privileged import protocol as p
from wirt.privileged.client import Helper

pytestmark = needs("root", "crun", "keeper", "overlay", "netns", "busybox", "nft")

STEPS = {
    "launch.begun", "launch.ports", "launch.publish", "launch.leave", "launch.left",
    "launch.overlay", "launch.mounted", "launch.fill", "launch.config", "launch.card",
    "launch.connected", "launch.conf",
    "release.killed", "release.unpublished", "release.links", "release.cgroup",
    "forget.released", "forget.gone",
}  # fmt: skip


@pytest.fixture
def box(instance_name: str, tmp_path: Path) -> Iterator[Lab]:
    with lab(instance_name, tmp_path) as made:
        yield made


def _launch(box: Lab) -> p.LaunchGuest:
    """A launch that goes through every step."""
    data = box.layout.volumes / "v/_data"
    mount = ResolvedMount(
        kind=MountKind.VOLUME, target="/data", source=str(data), volume="v", fill=True
    )
    launch = box.launch("sleep", "100", cards=1, mounts=(mount,))
    port = PortMap(guest_port=80, host_port=18081)
    return msgspec.structs.replace(launch, ports=(port,))


def _sweep(*, running: tuple[str, ...] = (), guests: tuple[str, ...] = ()) -> p.Sweep:
    return p.Sweep(
        running=running, guests=guests, volumes=("v",), layers=(), images=()
    )  # fmt: skip


async def _clean(box: Lab, helper: Helper) -> None:
    """After a sweep nothing is left, and a second one finds nothing."""
    layers = tuple(f"sha256:{path.name}" for path in box.layout.layers.iterdir())
    sweep = msgspec.structs.replace(_sweep(), layers=layers)
    swept, _ = await helper.call(sweep)
    assert not [line for line in swept.removed if line.startswith("not everything")]
    assert box.settled() == []
    assert "18081" not in box.inside("nft", "list", "ruleset")
    assert (await helper.call(sweep))[0].removed == ()
    assert list((box.layout.state / "guests").iterdir()) == []
    # whoever forgot the guest may still be at it
    await eventually(lambda: not list(box.layout.gone.iterdir()), "what is gone is deleted")


def test_every_step_has_a_story_here() -> None:
    root = Path(wirt.privileged.__path__[0])
    sources = (path.read_text() for path in root.rglob("*.py"))
    found = {step for text in sources for step in re.findall(r'fault\("([a-z.]+)"\)', text)}
    assert {s for s in found if s.split(".")[0] in {"launch", "release", "forget"}} == STEPS


@pytest.mark.parametrize("step", sorted(s for s in STEPS if s.startswith("launch.")))
def test_killed_while_launching(box: Lab, step: str) -> None:
    box.run(lambda helper: helper.call(p.MakeVolume(name="v")))
    box.kill()
    box.start(fault=step)
    launch = _launch(box)

    async def fails(helper: Helper) -> None:
        with pytest.raises(Unavailable):
            await helper.call(launch)

    box.run(fails)
    assert box.died(), f"{step} was not reached"
    box.start()

    async def story(helper: Helper) -> None:
        await _clean(box, helper)
        keeper, _ = await running(box, helper, launch)
        text = (box.layout.volumes / "v/_data/file").read_text
        assert await asyncio.to_thread(text) == "from the image\n", "filled after all"
        await keeper.link.close()
        await helper.call(p.ForgetGuest(id=launch.id))
        await _clean(box, helper)

    box.run(story)


@pytest.mark.parametrize("step", ["launch.begun", "launch.publish", "launch.card", "launch.conf"])
def test_a_crashed_child_is_undone_at_once(box: Lab, step: str) -> None:
    box.run(lambda helper: helper.call(p.MakeVolume(name="v")))
    box.kill()
    box.start(fault=f"child:{step}")

    async def story(helper: Helper) -> None:
        with pytest.raises(Internal, match="crashed"):
            await helper.call(_launch(box))
        assert box.settled() == []
        assert "18081" not in box.inside("nft", "list", "ruleset")
        await helper.call(p.Ping())

    box.run(story)


@pytest.mark.parametrize(
    "step", sorted(s for s in STEPS if s.startswith(("release.", "forget.")))
)  # fmt: skip
def test_killed_while_releasing(box: Lab, step: str) -> None:
    box.run(lambda helper: helper.call(p.MakeVolume(name="v")))
    launch = _launch(box)

    async def begin(helper: Helper) -> None:
        keeper, _ = await running(box, helper, launch)
        await keeper.link.close()

    box.run(begin)
    box.kill()
    box.start(fault=step)

    async def fails(helper: Helper) -> None:
        with pytest.raises(Unavailable):
            await helper.call(p.ForgetGuest(id=launch.id))

    box.run(fails)
    assert box.died(), f"{step} was not reached"
    box.start()

    async def story(helper: Helper) -> None:
        await helper.call(p.ForgetGuest(id=launch.id))
        assert not box.layout.guest_state(launch.id).exists()
        await _clean(box, helper)

    box.run(story)


def test_guests_outlive_the_helper_and_a_sweep_spares_them(box: Lab) -> None:
    async def begin(helper: Helper) -> tuple[p.LaunchGuest, int]:
        launch = box.launch("sleep", "100", cards=1)
        keeper, pid = await running(box, helper, launch)
        await keeper.link.close()
        return launch, pid

    launch, pid = box.run(begin)
    lost, _ = box.run(begin)
    box.kill()
    os.kill(pid, 0)
    box.start()

    async def story(helper: Helper) -> None:
        sweep = _sweep(running=(launch.id,), guests=(launch.id,))
        layers = tuple(f"sha256:{path.name}" for path in box.layout.layers.iterdir())
        swept, _ = await helper.call(msgspec.structs.replace(sweep, layers=layers))
        assert any(lost.id[:12] in line for line in swept.removed)
        assert not any(launch.id[:12] in line for line in swept.removed)
        os.kill(pid, 0)
        keeper = await Keeper.of(box, launch.id)
        assert keeper.link.hello["pid"] == [str(pid)]
        await helper.call(p.KillGuest(id=launch.id))
        assert (await keeper.exit())["code"] == ["137"]
        await keeper.link.close()
        await helper.call(p.ForgetGuest(id=launch.id))
        await _clean(box, helper)

    box.run(story)


def test_what_nobody_knows_is_swept(box: Lab) -> None:
    """Leftovers of every kind, made by hand, none of which belongs to a launch."""
    guest = new_id()
    box.cgroups.create(box.layout.cgroup(guest))
    (box.layout.guest_run(new_id()) / "deep/er").mkdir(parents=True)
    (box.layout.crun_root / new_id()).mkdir()
    (box.layout.guest_state(new_id()) / "upper/x").mkdir(parents=True)
    stray = f"{box.layout.name}vstray"[:15]
    box.inside("ip", "link", "add", stray, "type", "veth", "peer", "name", "x0")
    box.inside("ip", "link", "set", stray, "alias", box.layout.link_alias(guest))
    foreign = box.layout.state / "guests" / "not-an-id"
    foreign.mkdir()

    async def story(helper: Helper) -> None:
        layers = tuple(f"sha256:{path.name}" for path in box.layout.layers.iterdir())
        await helper.call(msgspec.structs.replace(_sweep(), layers=layers))
        assert box.settled() == []
        assert stray not in box.inside("ip", "link")
        assert foreign.exists()
        assert await whole(box, helper, box.launch()) == (0, "")

    box.run(story)


def test_a_keeper_whose_directory_was_deleted_is_swept(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        before = set(box.cgroups.processes(box.layout.keeper_cgroup))
        launch = box.launch("sleep", "100")
        keeper, _ = await running(box, helper, launch)
        await keeper.link.close()
        groups = set(box.cgroups.processes(box.layout.keeper_cgroup))
        assert groups - before, "keepers have a group of their own"
        await asyncio.to_thread(shutil.rmtree, box.layout.guest_run(launch.id))
        await _clean(box, helper)
        assert box.cgroups.processes(box.layout.keeper_cgroup) == ()

    box.run(story)


def test_two_helpers_do_not_serve_one_instance(box: Lab) -> None:
    first = box.helper_pid
    second = box.start_another()
    assert second.wait(20) != 0
    assert "another helper serves" in (second.stderr.read() if second.stderr else "")
    if second.stderr:
        second.stderr.close()

    async def story(helper: Helper) -> None:
        assert (await helper.call(p.Ping()))[0].pid == first

    box.run(story)
