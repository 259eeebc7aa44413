"""What steps mount: layers, caches, memory, secrets, agents; and attacks through each of them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from helperlab import LAYER, Lab
from needs import needs
from stepbench import Bench, boxes, tell
from wirt.aio import beside
from wirt.errors import Conflict, Invalid, NotFound
from wirt.host.build.caches import name_of
from wirt.host.pipe import chunks
from wirt.image.build.step import (
    BindMount,
    CacheMount,
    RunStep,
    SecretMount,
    Sharing,
    SshMount,
    StepFailed,
    TmpfsMount,
)

box = pytest.fixture(boxes)
pytestmark = needs("root", "mountns", "overlay", "crun", "busybox", "keeper")

SECRET = b"correct-horse-battery-staple"
OTHER = "sha256:" + "d" * 64


@pytest.fixture
def other(box: Lab) -> Path:
    """The files of a further layer, a hostile one, and a canary of the host beside it."""
    place = box.layout.layers / OTHER.partition(":")[2] / "diff"
    (place / "src/deep").mkdir(parents=True)
    (place / "src/file").write_text("from another\n")
    (place / "out").symlink_to("/")
    (place / "up").symlink_to("../../../../../../../..")
    (place / "absolute").symlink_to(box.layout.state.parent / "canary")
    (place / "inside").symlink_to("/src")
    os.mkfifo(place / "pipe")
    (box.layout.state.parent / "canary").write_text("alive")
    return place


def test_layers_are_bound_read_only_or_for_the_moment(box: Lab, other: Path) -> None:
    async def story(b: Bench) -> None:
        mounts = (
            BindMount(target="/a", layers=(OTHER,)),
            BindMount(target="/b/file", layers=(OTHER,), source="src/file"),
            BindMount(target="/c", layers=(LAYER, OTHER), source="/inside", writable=True),
        )
        made = await b.run(
            "cat /a/src/file /b/file; touch /a/x || echo read-only; echo y > /c/new;"
            "echo z > /c/file; cat /c/file",
            mounts=mounts,
        )
        assert b.output.count("from another") == 2
        assert "z\n" in b.output
        assert "read-only" in b.output
        assert made.empty
        assert (other / "src/file").read_text() == "from another\n"
        assert not (other / "src/new").exists()

    tell(box, story)


@pytest.mark.parametrize("source", ["/nosuch", "/pipe", "/src/file/x", "absolute"])
def test_sources_that_are_not_there(box: Lab, other: Path, source: str) -> None:
    async def story(b: Bench) -> None:
        with pytest.raises(Invalid, match="source"):
            await b.run("true", mounts=(BindMount(target="/m", layers=(OTHER,), source=source),))

    tell(box, story)


@pytest.mark.parametrize("source", ["..", "../../..", "/out", "up", "/out/up/out", "src/../../.."])
def test_no_source_leads_out_of_its_layers(box: Lab, other: Path, source: str) -> None:
    async def story(b: Bench) -> None:
        mount = BindMount(target="/m", layers=(OTHER,), source=source, writable=True)
        await b.run("ls /m; echo dead > /m/canary; rm -rf /m/* || true", mounts=(mount,))
        assert set(b.output.split()) == {"absolute", "inside", "out", "pipe", "src", "up"}
        assert (box.layout.state.parent / "canary").read_text() == "alive"
        assert (other / "src/file").exists()

    tell(box, story)


def test_mount_points_leave_no_trace(box: Lab, other: Path) -> None:
    async def story(b: Bench) -> None:
        mounts = (
            BindMount(target="/new/deep/place", layers=(OTHER,)),
            BindMount(target="/etc/made.conf", layers=(OTHER,), source="src/file"),
            TmpfsMount(target="/var/tmp/t", size=1 << 20),
            CacheMount(target="/root/.cache", id="c"),
            SecretMount(target="/run/secrets/s", content=SECRET),
        )
        script = "ls /new/deep/place /var/tmp/t /root/.cache; cat /etc/made.conf /run/secrets/s"
        made = await b.run(script, mounts=mounts)
        assert made.empty, b.output
        made = await b.run(f"{script}; echo x > /etc/own", mounts=mounts)
        assert sorted(p.name for p in b.files(made).rglob("*")) == ["etc", "own"]

    tell(box, story)


@pytest.mark.parametrize("target", ["/evil", "/evil/below", "/loop/x", "/up/etc"])
def test_targets_cannot_lead_out_of_the_root(box: Lab, other: Path, target: str) -> None:
    """CVE-2024-23652 and its kin: the root has links where the mount point shall be."""
    canary = box.layout.state.parent / "canary"

    async def story(b: Bench) -> None:
        evil = await b.run(
            f"ln -s {canary.parent} /evil; ln -s loop /loop; ln -s ../../../.. /up;echo x > /mark"
        )
        base = (LAYER, evil.chain_id)
        mount = TmpfsMount(target=target)
        before = sorted(os.listdir(canary.parent))  # noqa: PTH208
        with contextlib.suppress(Invalid, StepFailed):
            await b.run("true", base=base, mounts=(mount,))
        assert canary.read_text() == "alive"
        assert sorted(os.listdir(canary.parent)) == before  # noqa: PTH208

    tell(box, story)


# --- caches -----------------------------------------------------------------------------------


def test_caches_outlive_steps_and_are_no_part_of_layers(box: Lab) -> None:
    async def story(b: Bench) -> None:
        cache = CacheMount(target="/cache", id="../../x", mode=0o1770, uid=7, gid=8)
        made = await b.run("stat -c '%a %u %g' /cache; echo kept > /cache/f", mounts=(cache,))
        assert b.output == "1770 7 8\n"
        assert made.empty
        await b.run("cat /cache/f", mounts=(cache,))
        assert b.output == "kept\n"
        (found,) = await b.caches.all()
        assert (found.key, found.size > 0) == ("../../x", True)
        assert found.name == hashlib.sha256(b"0\0../../x").hexdigest()
        with pytest.raises(StepFailed):
            await b.run(
                "echo n > /cache/f",
                mounts=(CacheMount(target="/cache", id="../../x", read_only=True),),
            )
        assert await b.caches.drop([found.name]) == (found.name,)
        assert await b.caches.all() == ()

    tell(box, story)


def test_a_new_cache_is_filled_from_layers(box: Lab, other: Path) -> None:
    async def story(b: Bench) -> None:
        cache = CacheMount(target="/cache", id="filled", layers=(OTHER,), source="/inside")
        await b.run("cat /cache/file; echo mine > /cache/file", mounts=(cache,))
        assert b.output == "from another\n"
        await b.run("cat /cache/file", mounts=(cache,))
        assert b.output == "mine\n"
        wrong = CacheMount(target="/cache", id="wrong", layers=(OTHER,), source="/nosuch")
        with pytest.raises(Invalid, match="nosuch"):
            await b.run("true", mounts=(wrong,))

    tell(box, story)


def test_sharing(box: Lab) -> None:
    script = "test -e /c/busy && echo together; touch /c/busy; sleep 0.4; rm -f /c/busy; true"

    async def story(b: Bench) -> None:
        async def two(sharing: Sharing) -> str:
            cache = CacheMount(target="/c", id=sharing.value, sharing=sharing)
            told: list[bytes] = []
            step = RunStep(
                argv=("/bin/sh", "-c", script),
                env=("PATH=/bin",),
                network="none",
                mounts=(cache,),
            )
            runs = [
                b.steps.run((LAYER,), step, lambda _, data: told.append(data), lease=b.lease)
                for _ in range(2)
            ]
            await asyncio.gather(*runs)
            return b"".join(told).decode()

        assert await two(Sharing.LOCKED) == ""
        assert await two(Sharing.PRIVATE) == ""
        assert len([c for c in await b.caches.all() if c.key == "private"]) == 2
        assert len([c for c in await b.caches.all() if c.key == "locked"]) == 1

    tell(box, story)


def test_a_cache_in_use_is_not_dropped(box: Lab) -> None:
    async def story(b: Bench) -> None:
        cache = CacheMount(target="/c", id="busy")
        name = name_of("busy")
        up = asyncio.Event()
        step = RunStep(
            argv=("/bin/sh", "-c", "echo up; sleep 0.5; echo x > /c/f"),
            env=("PATH=/bin",),
            network="none",
            mounts=(cache,),
        )
        async with beside(b.steps.run((LAYER,), step, lambda *_: up.set(), lease=b.lease)) as run:
            await up.wait()
            assert await b.caches.drop([name]) == ()
            await run
        assert await b.caches.drop([name]) == (name,)

    tell(box, story)


def test_caches_are_taken_along(box: Lab) -> None:
    async def story(b: Bench) -> None:
        cache = CacheMount(target="/c", id="one", uid=5)
        await b.run("echo x > /c/f; mkdir /c/d; ln -s /etc/passwd /c/d/l", mounts=(cache,))
        reader, writer = os.pipe()
        await b.caches.export("one", writer)
        os.close(writer)
        data = b"".join([chunk async for chunk in chunks(reader)])
        os.close(reader)
        reader, writer = os.pipe()
        os.write(writer, data)
        os.close(writer)
        await b.caches.restore("two", reader, max_bytes=10**6, max_entries=100)
        os.close(reader)
        again = CacheMount(target="/c", id="two")
        await b.run("cat /c/f; ls -l /c/d/l", mounts=(again,))
        assert b.output.startswith("x\n")
        with pytest.raises(NotFound, match="nosuch"):
            await b.caches.export("nosuch", 1)

    tell(box, story)


# --- agents -----------------------------------------------------------------------------------


def test_the_agent_of_the_client_answers_inside(box: Lab, tmp_path: Path) -> None:
    async def agent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"agent heard " + await reader.readline())
        writer.close()

    async def ask(socket: Path) -> bytes:
        """As a process of the step would: no program of busybox speaks to such sockets."""
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(b"hello\n")
        answer = await reader.read()
        writer.close()
        return answer

    async def story(b: Bench) -> None:
        mount = SshMount(
            target="/run/agent.sock",
            connect=lambda: asyncio.open_unix_connection(tmp_path / "agent"),
            mode=0o600,
            uid=1000,
            gid=1001,
        )
        step = RunStep(
            argv=("/bin/sh", "-c", "stat -c '%n %F %a %u %g' $SSH_AUTH_SOCK; read line"),
            env=("PATH=/bin",),
            network="none",
            user="app",
            mounts=(mount,),
            timeout=20,
        )
        up = asyncio.Event()
        told: list[bytes] = []

        def out(_stream: int, data: bytes) -> None:
            told.append(data)
            up.set()

        async with await asyncio.start_unix_server(agent, path=tmp_path / "agent"):
            step = replace(step, argv=(*step.argv[:2], step.argv[2] + " < /tmp/fifo"))
            made = await b.run("mkfifo /tmp/fifo; chmod 666 /tmp/fifo")
            run = b.steps.run((LAYER, made.chain_id), step, out, lease=b.lease)
            async with beside(run) as running:
                await up.wait()
                (guest,) = b.steps.guests
                pid = (b.ground.layout.guest_run(guest) / "pid").read_text()
                root = Path(f"/proc/{pid}/root")
                assert await ask(root / "run/agent.sock") == b"agent heard hello\n"
                (root / "tmp/fifo").write_text("go\n")
                assert (await running).empty
        assert told == [b"/run/agent.sock socket 600 1000 1001\n"]
        assert list(b.ground.layout.uploads.iterdir()) == []

    tell(box, story)


def test_no_descriptor_of_the_engine_reaches_a_step(box: Lab) -> None:
    async def story(b: Bench) -> None:
        await b.run("ls /proc/self/fd", mounts=(CacheMount(target="/c", id="c"),))
        assert b.output.split() == ["0", "1", "2", "3"]  # 3: of ls itself
        for cwd in ("/proc/self/fd/7", "/proc/1/root/tmp/../.."):
            with contextlib.suppress(Invalid, StepFailed, Conflict):
                await b.run("cat canary ../canary && echo FOUND", cwd=cwd)
            assert "FOUND" not in b.output

    tell(box, story)
