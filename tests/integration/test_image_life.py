"""Images in use, removed by force, swept after a crash at any step; nothing leaks, nothing lies."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from filebench import Bench, bench, digest, docker_archive, file, helper_process, run, tar
from needs import needs
from wirt.errors import Conflict, NotFound, Unavailable, WirtError
from wirt.model.guest import Guest, GuestSpec, GuestState, GuestStatus
from wirt.model.image import Image
from wirt.privileged.context import Context
from wirt.privileged.protocol import Sweep
from wirt.privileged.verbs.images import sweep_images
from wirt.privileged.verbs.volumes import sweep_volumes

pytestmark = needs("root", "overlay")

BASE, TOP = tar(file("base", b"b" * 2000)), tar(file("top", b"t"))


def guest_of(image: Image, state: GuestState = GuestState.EXITED) -> Guest:
    return Guest(
        id="12" * 32,
        name="user",
        spec=GuestSpec(image="made"),
        image_id=image.id,
        created_at=1,
        status=GuestStatus(state=state),
    )


def test_an_image_in_use_stays(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(BASE, TOP))
        guest = guest_of(image, GuestState.RUNNING)
        await b.add_guest(guest)
        for name in ("made", image.id[7:19]):
            with pytest.raises(Conflict, match="user") as failure:
                await b.images.remove(name)
            assert failure.value.code == "image.in-use"
        with pytest.raises(Conflict, match="running guest user"):
            await b.images.remove(image.id, force=True)
        assert (await b.images.find("made")).id == image.id

    run(tmp_path, story)


def test_an_image_removed_by_force_goes_with_its_last_guest(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(BASE, TOP))
        guest = guest_of(image)
        await b.add_guest(guest)
        done = await b.images.remove("made", force=True)
        assert [r.untagged for r in done] == ["made:latest"]
        assert await b.images.all() == []
        for name in ("made", image.id):
            with pytest.raises(NotFound, match="No such image"):
                await b.images.find(name)
        assert await b.images.get(image.id) == replace(image, references=(), targets={})
        assert len(b.on_disk()["layers"]) == 2, "the guest needs them"
        await b.images.release(guest, volumes=False)
        assert b.on_disk()["layers"] == b.on_disk()["blobs"] == set()

    run(tmp_path, story)


def test_loading_again_brings_a_forgotten_image_back(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(BASE))
        guest = guest_of(image)
        await b.add_guest(guest)
        await b.images.remove("made", force=True)
        assert await b.load(docker_archive(BASE)) == (image,)
        assert (await b.images.find("made")).id == image.id
        await b.images.release(guest, volumes=False)
        assert len(b.on_disk()["layers"]) == 1

    run(tmp_path, story)


def test_what_is_being_used_is_not_removed(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(BASE))
        with b.images.hold(image), pytest.raises(Conflict, match="right now"):
            await b.images.remove("made")
        await b.images.remove("made")
        assert b.on_disk()["layers"] == set()

    run(tmp_path, story)


def test_loading_and_removing_at_once_ends_whole(tmp_path: Path) -> None:
    """Whatever the order, an image that has a name has its layers and blobs."""
    archives = [docker_archive(BASE, tar(file(f"{n}")), tags=[f"t{n}"]) for n in range(3)]

    async def story(b: Bench) -> None:
        async def churn(number: int) -> None:
            for _ in range(4):
                await b.load(archives[number])
                with contextlib.suppress(NotFound, Conflict):
                    await b.images.remove(f"t{number}")

        await asyncio.gather(*(churn(n) for n in range(3)))
        (image,) = await b.load(archives[0])
        for number in range(2):
            assert b.diff(image, number).is_dir()
        for name in await b.images.all():
            await b.save(name.id)
        for known in await b.images.all():
            await b.images.remove(known.id, force=True)
        await b.images.sweep_blobs()
        assert b.on_disk()["blobs"] == b.on_disk()["layers"] == set()

    run(tmp_path, story)


@needs("erofs")
def test_disks_are_the_same_bytes_and_go_with_their_image(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        (image,) = await b.load(docker_archive(BASE, TOP))
        path = b.layout.disks / f"{image.id[7:]}.erofs"
        await asyncio.gather(b.images.disk(image), b.images.disk(image))
        first = path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o644
        path.unlink()
        await b.images.disk(image)
        assert path.read_bytes() == first
        assert b.on_disk()["disks"] == {path.name}
        await b.images.remove("made")
        assert b.on_disk()["disks"] == set()

    run(tmp_path, story)


# --- killed at every step -----------------------------------------------------------------------

STEPS = ("layer.unpacked", "layer.renamed", "layer.dropping", "disk.made", "volume.dropping")


def sweep(ctx: Context, *, layers: tuple[str, ...], images: tuple[str, ...]) -> list[str]:
    wish = Sweep(running=(), guests=(), volumes=(), layers=layers, images=images)
    return [*sweep_images(ctx, wish), *sweep_volumes(ctx, wish)]


@pytest.mark.parametrize("whom", ["child:", ""])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_leaves_only_garbage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, whom: str
) -> None:
    """The helper (or only its child) is killed at ``step``; afterwards everything can be done."""
    archive = docker_archive(BASE, TOP)

    async def first(ctx: Context) -> None:
        async with bench(ctx) as b:
            with pytest.raises(WirtError):  # noqa: PT012 - which of them meets the kill, differs
                (image,) = await b.load(archive)
                await b.images.disk(image)
                await b.volumes.create("vol")
                await b.volumes.remove("vol")
                await b.images.remove("made")

    async def second(ctx: Context) -> None:
        async with bench(ctx) as b:
            for known in await b.images.all():
                for chain in known.chain_ids:
                    assert (b.layout.layers / chain[7:] / "about").exists(), "no name dangles"
                await b.save(known.id)
            layers, images = await b.images.known()
            sweep(ctx, layers=layers, images=images)
            await b.images.sweep_blobs()
            (image,) = await b.load(archive)
            await b.images.disk(image)
            await b.images.remove("made")
            assert all(not names for names in b.on_disk().values()), b.on_disk()

    monkeypatch.setenv("WIRT_FAULT", whom + step)
    with helper_process(tmp_path, arm=True) as ctx:
        asyncio.run(asyncio.wait_for(first(ctx), 30))
    monkeypatch.delenv("WIRT_FAULT")
    with helper_process(tmp_path) as ctx:
        asyncio.run(asyncio.wait_for(second(ctx), 30))


@pytest.mark.parametrize("step", ["upload", "commit", "unpacked", "named"])
def test_a_daemon_that_dies_while_loading(tmp_path: Path, step: str) -> None:
    """The daemon ends without any clean-up at one step of a load; the next one sweeps."""
    archive = docker_archive(BASE, TOP)

    async def dies(ctx: Context) -> None:
        async with bench(ctx) as b:
            leave = lambda *_, **__: os._exit(9)  # noqa: E731
            if step == "upload":
                monkey = leave
                b.store.new_upload = monkey  # type: ignore[method-assign]
            elif step == "commit":
                done = b.store.commit

                def commit(*args: object, **more: object) -> object:
                    done(*args, **more)  # type: ignore[arg-type]
                    os._exit(9)

                b.store.commit = commit  # type: ignore[method-assign, assignment]
            elif step == "unpacked":
                b.table.add = leave  # type: ignore[method-assign]
            else:
                b.bus.publish = leave  # type: ignore[method-assign]
            await b.load(archive)

    async def after(ctx: Context) -> None:
        async with bench(ctx) as b:
            named = await b.images.all()
            assert len(named) == (1 if step == "named" else 0)
            layers, images = await b.images.known()
            sweep(ctx, layers=layers, images=images)
            await b.images.sweep_blobs()
            left = b.on_disk()
            assert left["uploads"] == set()
            assert len(left["layers"]) == (2 if named else 0)
            assert (digest(BASE)[7:] in left["blobs"]) == bool(named)
            await b.load(archive)

    with helper_process(tmp_path) as ctx:
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                asyncio.run(dies(ctx))
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
        asyncio.run(asyncio.wait_for(after(ctx), 30))


def test_without_a_helper_the_failure_is_clear(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        await b.helper.close()
        b.layout.helper_socket.unlink()
        with pytest.raises(Unavailable):
            await b.load(docker_archive(BASE))
        assert await b.images.all() == []
        assert b.on_disk()["uploads"] == set()

    run(tmp_path, story)
