"""From boot to end: what a machine's main process says and leaves, and what ends it too early."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from machinebox import BOOT, Box, box, facts, image, make_root, plan_of
from needs import needs
from wirt.engine.protocol import Plan, ResolvedMount
from wirt.errors import Invalid, Unavailable, WirtError
from wirt.guest.frame import decode_record
from wirt.linux import procfs
from wirt.model.guest import GuestSpec, Isolation
from wirt.model.volume import MountKind
from wirt.privileged.machine import uid_of
from wirt.qemu import qmp
from wirt.qemu.host import MachineHost
from wirt.qemu.qmp import Monitor

__all__ = ["box", "facts", "image"]
pytestmark = needs("root", "mountns", "qemu", "erofs", "busybox", "keeper", "agent", "guest-kernel")


async def _run(box: Box) -> tuple[bytes, dict[str, list[str]]]:
    """Boot, and everything the main process says until its end."""
    async with asyncio.timeout(BOOT), box.session() as session:
        client = await session.attach()
        await session.handle.start()
        output = await client.rest()
        await session.event("exit", "main")
    return output, box.exit()


@pytest.mark.parametrize("kind", [Isolation.MICROVM, Isolation.VM])
def test_it_boots_runs_ends_and_keeps_its_disk(
    box: Box, facts: MachineHost, kind: Isolation
) -> None:
    script = "cat /kept; echo first >/kept; echo out; echo err >&2; id -u; exit 7"
    box.launch(*plan_of(facts, "sh", "-c", script, kind=kind))
    output, end = asyncio.run(_run(box))
    assert sorted(output.splitlines()) == [
        b"0", b"cat: can't open '/kept': No such file or directory", b"err", b"out",
    ]  # fmt: skip
    assert end["code"] == ["7"]
    more = "id -u; cat /kept; pwd"
    box.launch(*plan_of(facts, "sh", "-c", more, kind=kind, user="bob", cwd="/made/for/it"))
    output, end = asyncio.run(_run(box))
    assert (output, end["code"]) == (b"1000\nfirst\n/made/for/it\n", ["0"])


def test_output_of_children_is_complete_and_they_end_with_the_main_process(
    box: Box, facts: MachineHost
) -> None:
    script = "sleep 1000 & seq 1 60000; exit 3"
    box.launch(*plan_of(facts, "sh", "-c", script))
    output, end = asyncio.run(_run(box))
    assert output == b"".join(b"%d\n" % n for n in range(1, 60_001))
    assert end["code"] == ["3"]


def test_a_terminal_is_read_written_and_signalled(box: Box, facts: MachineHost) -> None:
    spec = GuestSpec(image="busybox", tty=True, stdin_open=True, stdin_once=True)
    box.launch(*plan_of(facts, "cat", spec=spec))

    async def story() -> bytes:
        async with asyncio.timeout(BOOT), box.session() as session:
            client = await session.attach(stdin=True)
            await session.handle.start()
            await client.send(b"hello\n")
            await client.until(b"hello\r\nhello\r\n")
            await session.handle.signal(15)
            return await client.rest()

    assert asyncio.run(story()).startswith(b"hello\r\nhello\r\n")
    assert (end := box.exit())["code"] == ["143"], end


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (("missing",), "127", "executable file not found"),
        (("/etc/passwd",), "126", "Permission denied"),
    ],
)
def test_a_main_process_that_cannot_run_is_told(
    box: Box, facts: MachineHost, argv: tuple[str, ...], code: str, words: str
) -> None:
    box.launch(*plan_of(facts, *argv))

    async def story() -> None:
        async with asyncio.timeout(BOOT), box.session() as session:
            with pytest.raises(Invalid, match=words) as caught:
                await session.handle.start()
            assert caught.value.facts["exit"] == int(code)

    asyncio.run(story())
    assert box.exit()["code"] == [code]


def test_what_the_guests_kernel_refuses_fails_the_start_with_its_name(
    box: Box, facts: MachineHost
) -> None:
    spec = GuestSpec(image="busybox", sysctls={"kernel.no_such_thing": "1"})
    box.launch(*plan_of(facts, "true", spec=spec))

    async def story() -> None:
        async with asyncio.timeout(BOOT), box.session() as session:
            with pytest.raises(WirtError, match=r"kernel\.no_such_thing") as caught:
                await session.handle.start()
            assert caught.value.facts["exit"] == 125

    asyncio.run(story())
    assert box.exit()["code"] == ["125"]


def test_a_read_only_root_and_a_volume_filled_from_the_image(box: Box, facts: MachineHost) -> None:
    volume = box.layout.volumes / "store"
    (volume / "_data").mkdir(parents=True)
    layer = "sha256:" + "c" * 64
    make_root(box.layout.layers / ("c" * 64) / "diff")
    mount = ResolvedMount(
        kind=MountKind.VOLUME, target="/data", volume="store", fill=True, source=str(volume)
    )
    script = "echo x >/x; echo y >/dev/shm/y; cat /data/seed; echo z >/data/z; ls /data; hostname"
    spec = GuestSpec(image="busybox", read_only=True, hostname="sealed")

    def with_layer(plan: Plan) -> Plan:
        assert plan.launch.machine is not None
        assert plan.launch.machine.layers == (layer,)
        return plan

    box.launch(*plan_of(facts, "sh", "-c", script, spec=spec, mounts=(mount,), change=with_layer))
    output, end = asyncio.run(_run(box))
    text = output.decode()
    assert "can't create /x: Read-only file system" in text
    assert text.endswith("from the image\nseed\nz\nsealed\n")
    assert end["code"] == ["0"]
    assert (volume / "_data" / "seed").read_text() == "from the image\n"
    assert (volume / "_data" / "z").read_text() == "z\n"


def _qemu(box: Box) -> int:
    """QEMU's pid as the keeper wrote it down."""
    return int(decode_record((box.run / "started").read_bytes())["pid"][0])


def test_qemu_has_no_rights_and_its_end_is_the_machines(box: Box, facts: MachineHost) -> None:
    box.launch(*plan_of(facts, "sleep", "1000", box=box))

    async def story() -> None:
        async with asyncio.timeout(BOOT), box.session(boot=True) as session:
            pid = _qemu(box)
            about = procfs.status(pid)
            assert about is not None
            uid = str(uid_of(box.guest.id))
            assert set(about["Uid"].split()) == set(about["Gid"].split()) == {uid}
            assert about["Groups"].split() == []
            assert {int(about[s], 16) for s in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
            assert (about["Seccomp"], about["NoNewPrivs"]) == ("2", "1")
            assert pid in box.cgroups.processes(box.layout.cgroup(box.guest.id))
            assert await session.monitor.status() == "running"
            await session.monitor.stop()
            assert await session.monitor.status() == "paused"
            await session.monitor.cont()
            assert (await session.monitor.memory()).left == 256 << 20
            os.kill(pid, signal.SIGKILL)
            event = await session.event("exit", "main")
            assert event["code"] == ["137"]

    asyncio.run(story())
    end = box.exit()
    assert end["code"] == ["137"]
    assert end["error"] == ["the machine ended without an exit status"]


def test_a_monitor_outlives_who_asked_and_a_qemu_that_stood_still(
    box: Box, facts: MachineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU serves one connection at a time: the next daemon's waits for the end of the last."""
    monkeypatch.setattr(qmp, "SECONDS", 2.0)
    box.launch(*plan_of(facts, "sleep", "1000", box=box))

    async def story() -> None:
        async with asyncio.timeout(BOOT), box.session(boot=True) as session:
            first, second = session.monitor, Monitor(box.layout.monitor_socket(box.guest.id))
            assert await first.status() == "running"
            with pytest.raises(Unavailable, match="no answer"):
                await second.status()
            asyncio.get_running_loop().call_later(0.3, first.close)
            assert await second.status() == "running"
            os.kill(_qemu(box), signal.SIGSTOP)
            for _ in range(3):
                with pytest.raises(Unavailable):
                    await second.told()
            os.kill(_qemu(box), signal.SIGCONT)
            assert (await second.told())[0].left == 256 << 20
            second.close()

    asyncio.run(story())


def _as_qemu(pid: int, *argv: str) -> list[str]:
    """What a program prints that has QEMU's mounts, root directory and user."""
    uid = str(Path(f"/proc/{pid}").stat().st_uid)
    enter = [
        "nsenter",
        f"--target={pid}",
        "--mount",
        "--root",
        f"--setuid={uid}",
        f"--setgid={uid}",
    ]
    done = subprocess.run([*enter, "--", *argv], capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_qemu_sees_programs_and_nothing_that_is_anybodys(box: Box, facts: MachineHost) -> None:
    box.launch(*plan_of(facts, "sleep", "1000"))

    async def story() -> None:
        async with asyncio.timeout(BOOT), box.session(boot=True):
            pid = _qemu(box)
            assert set(_as_qemu(pid, "ls", "/")) <= {
                "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "usr",
            }  # fmt: skip
            assert _as_qemu(pid, "ls", "/etc", "/dev") == [
                "/dev:", "null", "urandom", "/etc:", "ld.so.cache",
            ]  # fmt: skip
            processes = [name for name in _as_qemu(pid, "ls", "/proc") if name.isdigit()]
            assert str(pid) in processes
            assert len(processes) == 2, "QEMU and the one that looks"
            assert _as_qemu(pid, "ls", "/proc/sys", f"/proc/{os.getpid()}/root") == []
            for place in ("/", "/usr", "/dev", "/etc"):
                assert _as_qemu(pid, "sh", "-c", f"touch {place}/x; ls {place}/x") == []

    asyncio.run(story())


def test_a_machine_whose_keeper_was_killed_switches_itself_off(
    box: Box, facts: MachineHost
) -> None:
    box.launch(*plan_of(facts, "sh", "-c", "echo kept >/kept; sleep 1000"))

    async def boot() -> None:
        async with asyncio.timeout(BOOT), box.session(boot=True) as session:
            while (await session.execute("cat", "/kept"))[1] != b"kept\n":
                pass

    asyncio.run(boot())
    watch = os.pidfd_open(_qemu(box))
    os.kill(box.pid, signal.SIGKILL)
    os.waitpid(box.pid, 0)
    box.pid = 0

    async def gone() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(watch, ended.set)
        await asyncio.wait_for(ended.wait(), BOOT)

    asyncio.run(gone())
    os.close(watch)
    # It had written its disk before.
    box.launch(*plan_of(facts, "cat", "/kept"))
    assert asyncio.run(_run(box))[0] == b"kept\n"


def test_a_broken_disk_fails_the_start_with_the_reason(box: Box, facts: MachineHost) -> None:
    def small(plan: Plan) -> Plan:
        assert plan.launch.machine is not None
        machine = msgspec.structs.replace(plan.launch.machine, image_id="sha256:" + "f" * 64)
        return replace(plan, launch=msgspec.structs.replace(plan.launch, machine=machine))

    other = box.layout.disks / f"{'f' * 64}.erofs"
    other.parent.mkdir(parents=True)
    other.write_bytes(os.urandom(1 << 20))
    box.launch(*plan_of(facts, "true", change=small))

    async def story() -> None:
        async with asyncio.timeout(BOOT), box.session() as session:
            with pytest.raises(WirtError, match="cannot mount the image's disk"):
                await session.handle.start()

    asyncio.run(story())
    assert box.exit()["code"] == ["125"]
