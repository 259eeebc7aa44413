"""The helper end to end: a busybox container with the real keeper and the real crun."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from helperlab import LAYER, Keeper, Lab, cards, lab, running, text_of, whole
from needs import needs
from wirt.engine.protocol import ResolvedMount
from wirt.errors import Conflict, WirtError
from wirt.linux import spawn
from wirt.model.guest import GuestSpec
from wirt.model.network import PortMap
from wirt.model.volume import MountKind
from wirt.privileged import protocol as p
from wirt.privileged.client import Helper

pytestmark = needs("root", "crun", "keeper", "overlay", "netns", "busybox", "nft")


@pytest.fixture
def box(instance_name: str, tmp_path: Path) -> Iterator[Lab]:
    with lab(instance_name, tmp_path) as made:
        yield made
        assert made.settled() == []


def test_a_container_runs_and_leaves_nothing(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launch = box.launch("sh", "-c", "echo hello; id -u; hostname; exit 7", user="app", cards=1)
        assert await whole(box, helper, launch) == (7, f"hello\n1000\n{launch.id[:12]}\n")
        assert box.settled() == []
        await helper.call(p.ForgetGuest(id=launch.id))
        assert not box.layout.guest_state(launch.id).exists()

    box.run(story)


def test_user_home_and_groups_come_from_the_image(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        script = "echo $HOME; id -u; id -g; grep Groups: /proc/self/status || true; id -G"
        launch = box.launch("sh", "-c", script, user="app")
        code, text = await whole(box, helper, launch)
        assert code == 0
        assert text.splitlines()[:3] == ["/tmp", "1000", "1001"]
        assert "44" in text.splitlines()[-1].split()

    box.run(story)


def test_cards_reach_the_bridge(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launch = box.launch("sh", "-c", "ping -c1 -W2 10.213.0.1 && ip route", cards=1)
        code, text = await whole(box, helper, launch)
        assert code == 0, text
        assert "default via 10.213.0.1 dev eth0" in text

    box.run(story)


def test_a_published_port_leads_to_the_guest_and_is_held(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launch = box.launch("httpd", "-f", "-p", "80", "-h", "/data", cards=1)
        ports = (PortMap(guest_port=80, host_port=18080), PortMap(guest_port=80))
        launch = msgspec.structs.replace(launch, ports=ports)
        launched, (fd,) = await helper.call(launch)
        os.close(fd)
        first, second = launched.ports
        assert first.host_port == 18080
        assert 32768 <= second.host_port <= 60999
        keeper = await Keeper.of(box, launch.id)
        await keeper.start()
        for port in (first, second):
            url = f"http://127.0.0.1:{port.host_port}/file"
            assert "from the image" in await _fetched(box, url)
        other = box.launch(cards=1)
        taken = msgspec.structs.replace(other, ports=(PortMap(guest_port=1, host_port=18080),))
        with pytest.raises(Conflict, match=f"18080/tcp is in use by guest {launch.id[:12]}"):
            await helper.call(taken)
        assert not box.layout.guest_run(other.id).exists()
        await keeper.link.close()
        await helper.call(p.ReleaseGuest(id=launch.id))
        assert "18080" not in box.inside("nft", "list", "table", "inet", box.layout.nft_table)

    box.run(story)


async def _fetched(box: Lab, url: str) -> str:
    """What is at ``url``, as soon as somebody listens there."""
    for _ in range(300):
        try:
            return box.inside("busybox", "wget", "-qO-", url)
        except subprocess.CalledProcessError:
            await asyncio.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


def test_a_volume_is_filled_once(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        await helper.call(p.MakeVolume(name="v"))
        data = box.layout.volumes / "v" / "_data"
        mount = ResolvedMount(
            kind=MountKind.VOLUME, target="/data", source=str(data), volume="v", fill=True
        )
        script = "cat /data/file && echo mine > /data/file && stat -c %u:%g:%a /data"
        code, text = await whole(box, helper, box.launch("sh", "-c", script, mounts=(mount,)))
        assert (code, text) == (0, "from the image\n1000:1001:750\n")
        status = (data / "file").stat()
        assert status.st_ino == (data / "inner/twin").stat().st_ino
        assert (data / "link").readlink() == Path("file")
        _, text = await whole(box, helper, box.launch("cat", "/data/file", mounts=(mount,)))
        assert text == "mine\n", "a filled volume is not filled again"
        await helper.call(p.DropVolume(name="v"))

    box.run(story)


def test_a_terminal(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        spec = GuestSpec(image="x", tty=True, stdin_open=True)
        launch = box.launch("sh", "-c", "test -t 0 && test -t 1 && echo yes", spec=spec)
        assert await whole(box, helper, launch) == (0, "yes\r\n")

    box.run(story)


def test_the_hosts_network(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launch = box.launch("ip", "-o", "link", network="host")
        code, text = await whole(box, helper, launch)
        assert code == 0
        assert f" {box.layout.default_bridge}:" in text

    box.run(story)


def test_many_layers(box: Lab) -> None:
    chains = []
    for number in range(120):
        chain = f"{number:064x}"
        diff = box.layout.layers / chain / "diff"
        diff.mkdir(parents=True)
        (diff / "top").write_text(f"{number}\n")
        chains.append(f"sha256:{chain}")

    async def story(helper: Helper) -> None:
        launch = box.launch("cat", "/top")
        assert launch.container is not None
        overlay = p.Overlay(layers=(LAYER, *chains))
        container = msgspec.structs.replace(launch.container, overlay=overlay)
        launch = msgspec.structs.replace(launch, container=container)
        assert await whole(box, helper, launch) == (0, "119\n")

    box.run(story)


def test_eight_at_once(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launches = [box.launch("echo", str(n), cards=1) for n in range(8)]
        ends = await asyncio.gather(*(whole(box, helper, launch) for launch in launches))
        assert ends == [(0, f"{n}\n") for n in range(8)]

    box.run(story)


def test_missing_bind_sources_are_made(box: Lab, tmp_path: Path) -> None:
    async def story(helper: Helper) -> None:
        source = tmp_path / "a/b"
        mount = ResolvedMount(kind=MountKind.BIND, target="/b", source=str(source), make=True)
        code, _ = await whole(box, helper, box.launch("touch", "/b/x", mounts=(mount,)))
        assert code == 0
        assert (source / "x").exists()

    box.run(story)


def test_a_private_user_namespace(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        spec = GuestSpec(image="x", userns="private")
        script = (
            "id -u; stat -c %u:%g /data; touch /tmp/mine; cat /proc/self/uid_map; ip route; "
            "cat /etc/hosts /v/file; touch /sys/x || true"
        )
        await helper.call(p.MakeVolume(name="v"))
        data = box.layout.volumes / "v/_data"
        mount = ResolvedMount(
            kind=MountKind.VOLUME, target="/v", source=str(data), volume="v", fill=False
        )
        await asyncio.to_thread((data / "file").write_text, "in the volume")
        launch = box.launch("sh", "-c", script, spec=spec, cards=1, mounts=(mount,))
        assert launch.container is not None
        first = launch.container.overlay.idmap
        code, text = await whole(box, helper, launch)
        assert code == 0, text
        lines = text.splitlines()
        assert lines[:2] == ["0", "1000:1001"]
        assert lines[2].split() == ["0", str(first), "65536"]
        assert "default via 10.213.0.1" in text
        mine = (box.layout.guest_state(launch.id) / "upper/tmp/mine").stat()
        assert mine.st_uid == first
        assert "localhost" in text
        assert "in the volume" in text

    box.run(story)


def test_failures_name_the_cause_and_leave_nothing(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        good = box.launch(cards=1)
        assert good.container is not None
        unknown = msgspec.structs.replace(
            good.container, overlay=p.Overlay(layers=("sha256:" + "0" * 64,))
        )
        cases = [
            (msgspec.structs.replace(good, container=unknown), "not unpacked"),
            (
                msgspec.structs.replace(
                    good, links=(msgspec.structs.replace(good.links[0], bridge="nosuch"),)
                ),
                "nosuch",
            ),
            (box.launch(user="ghost"), "'ghost' is not in the guest's /etc/passwd"),
            (msgspec.structs.replace(good, id="../../etc"), "invalid guest id"),
            (msgspec.structs.replace(good, network="bridge"), "unknown network"),
            (msgspec.structs.replace(good, files={"../x": ""}), "not managed"),
            (
                msgspec.structs.replace(
                    good, container=msgspec.structs.replace(good.container, config="{}")
                ),
                "malformed",
            ),
        ]
        for launch, message in cases:
            with pytest.raises(WirtError, match=message):
                await helper.call(launch)
            assert box.settled() == [], message

    box.run(story)


def test_a_running_guest_is_not_disturbed_by_a_second_launch(box: Lab) -> None:
    async def story(helper: Helper) -> None:
        launch = box.launch("sleep", "100", cards=1)
        keeper, pid = await running(box, helper, launch)
        for second in (launch, msgspec.structs.replace(launch, network="nonsense")):
            with pytest.raises(WirtError):
                await helper.call(second)
        os.kill(pid, 0)
        assert cards(pid) == {"lo", "eth0"}
        await keeper.link.close()
        await helper.call(p.ReleaseGuest(id=launch.id))
        again = box.launch("true", cards=1, guest_id=launch.id)
        assert await whole(box, helper, again) == (0, ""), "the same id can be started again"

    box.run(story)


def test_foreign_ports_are_named(box: Lab) -> None:
    holder = ["nc", "-l", "-p", "18099"]
    process = subprocess.Popen([*box.enter(), "/bin/busybox", *holder])
    try:
        while ":18099" not in box.inside("busybox", "netstat", "-ltn"):
            pass

        async def story(helper: Helper) -> None:
            launch = box.launch(cards=1)
            launch = msgspec.structs.replace(
                launch, ports=(PortMap(guest_port=1, host_port=18099),)
            )
            with pytest.raises(Conflict, match=r"18099/tcp is in use by busybox \(process"):
                await helper.call(launch)
            ranged = msgspec.structs.replace(
                launch, ports=(PortMap(guest_port=1, host_port=18099, host_port_end=18100),)
            )
            launched, (fd,) = await helper.call(ranged)
            os.close(fd)
            assert [port.host_port for port in launched.ports] == [18100]
            await helper.call(p.ReleaseGuest(id=launch.id))

        box.run(story)
    finally:
        process.kill()
        process.wait()


def test_only_root_and_the_daemon_may_connect(box: Lab) -> None:
    mode = box.layout.helper_socket.stat()
    assert stat.S_IMODE(mode.st_mode) == 0o600
    box.layout.helper_socket.chmod(0o666)
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(os.fspath(box.layout.helper_socket))
        sock.settimeout(60)
        os._exit(0 if sock.recv(1) == b"" else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_no_container_reaches_a_writable_engine(box: Lab) -> None:
    """Its /proc/PID/exe is on a read-only mount, and it need not start itself a second time."""

    program = os.path.realpath(spawn.which("crun"))

    async def story(helper: Helper) -> None:
        launch = box.launch("sleep", "60")
        launched, (fd,) = await helper.call(launch)
        os.close(fd)
        mounts = text_of(f"/proc/{launched.keeper_pid}/mountinfo").splitlines()
        (flags,) = [m.split()[5] for m in mounts if m.split()[4] == program]
        assert "ro" in flags.split(",")
        assert program not in text_of("/proc/self/mounts"), "the host sees nothing of it"
        with pytest.raises(OSError, match="Read-only file system"):
            os.open(f"/proc/{launched.keeper_pid}/root{program}", os.O_WRONLY)
        await helper.call(p.ReleaseGuest(id=launch.id))

    box.run(story)
