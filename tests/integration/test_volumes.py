"""Volumes: made for guests, filled from images, kept while used, removed without a trace."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from filebench import Bench, directory, file, hard_link, run, symlink, tar
from needs import needs
from wirt.errors import Conflict, Invalid, NotFound, Unsupported
from wirt.model.guest import Guest, GuestSpec
from wirt.model.image import Image
from wirt.model.volume import Mount, MountKind
from wirt.privileged.fill import fill_volume

pytestmark = needs("root", "overlay")

GUEST = "cd" * 32


async def image_with_volume(b: Bench) -> Image:
    layer = tar(
        directory("data", mode=0o1770, uid=5, gid=6),
        file("data/a", b"a", uid=5, mode=0o600),
        hard_link("data/b", "data/a"),
        symlink("data/out", "/etc/passwd"),
        symlink("way", "/data"),
    )
    return await b.take(layer, "made", changes=["VOLUME /data", "VOLUME /other"])


def guest_of(image: Image, *mounts: Mount) -> Guest:
    spec = GuestSpec(image="made", mounts=mounts)
    return Guest(id=GUEST, name="g", spec=spec, image_id=image.id, created_at=1)


def test_by_users(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        named = await b.volumes.create("web", labels={"a": "b"})
        assert await b.volumes.create("web") == named, "asking again is no error"
        nameless = await b.volumes.create()
        assert (len(nameless.name), nameless.anonymous) == (64, True)
        assert b.on_disk()["volumes"] == {"web", nameless.name}
        for name in ("../x", "a/b", "-rf", "", " "):
            with pytest.raises(Invalid) if name else pytest.raises(NotFound):
                await b.volumes.create(name) if name else await b.volumes.get(name)
        with pytest.raises(Unsupported):
            await b.volumes.create("x", options={"type": "nfs"})
        (b.layout.volumes / "web/_data/file").write_text("x" * 5000)
        pruned = await b.volumes.prune()
        assert pruned.removed == (nameless.name,)
        pruned = await b.volumes.prune(everything=True)
        assert (pruned.removed, pruned.freed >= 8192) == (("web",), True)
        assert b.on_disk()["volumes"] == set()
        await b.volumes.remove("web", force=True)
        with pytest.raises(NotFound, match="No such volume: web"):
            await b.volumes.remove("web")

    run(tmp_path, story)


def test_a_guest_gets_the_same_volumes_at_every_start(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        image = await image_with_volume(b)
        wish = guest_of(
            image,
            Mount(kind=MountKind.VOLUME, source="named", target="/named/"),
            Mount(kind=MountKind.TMPFS, target="/other"),
            Mount(kind=MountKind.BIND, source=str(tmp_path), target="/bind"),
        )
        guest = await b.volumes.claim(wish, image)
        await b.add_guest(guest)
        first = await b.volumes.resolve_mounts(guest, image)
        assert first == await b.volumes.resolve_mounts(guest, image)
        by_target = {mount.target: mount for mount in first}
        assert set(by_target) == {"/named", "/other", "/bind", "/data"}
        assert by_target["/named"].source == str(b.layout.volumes / "named/_data")
        assert by_target["/data"].volume in guest.volumes
        assert (by_target["/data"].fill, by_target["/bind"].fill) == (True, False)
        assert set(guest.volumes) == b.on_disk()["volumes"]
        for name in guest.volumes:
            with pytest.raises(Conflict) as failure:
                await b.volumes.remove(name)
            assert failure.value.code == "volume.in-use"
        assert (await b.volumes.prune(everything=True)).removed == ()
        await b.volumes.release(guest, volumes=True)
        assert b.on_disk()["volumes"] == {"named"}, "only its own nameless ones"

    run(tmp_path, story)


def test_bind_sources_are_looked_at(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        image = await image_with_volume(b)
        (tmp_path / "file").touch()
        missing = Mount(kind=MountKind.BIND, source=str(tmp_path / "no"), target="/x")
        with pytest.raises(NotFound, match="bind source path does not exist"):
            await b.volumes.resolve_mounts(guest_of(image, missing), image)
        made = replace(missing, create_source=True)
        found = replace(missing, source=str(tmp_path / "file"), target="/y")
        mounts = await b.volumes.resolve_mounts(guest_of(image, made, found), image)
        by_target = {mount.target: mount for mount in mounts}
        assert (by_target["/x"].make, by_target["/y"].is_file) == (True, True)

    run(tmp_path, story)


def test_claims_that_fail_leave_nothing(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        image = await image_with_volume(b)
        for target in ("/proc", "/", "relative", "/sys/kernel", "/a\0b"):
            bad = Mount(kind=MountKind.VOLUME, source="v", target=target)
            with pytest.raises(Invalid):
                await b.volumes.claim(guest_of(image, bad), image)
        assert b.on_disk()["volumes"] == set()

    run(tmp_path, story)


def test_filling(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        image = await image_with_volume(b)
        root = os.open(b.diff(image), os.O_PATH)
        await b.volumes.create("v")
        volume = b.layout.volumes / "v"
        data = volume / "_data"
        before = data.stat().st_ino
        assert fill_volume(volume, root, "/nowhere") is False
        assert fill_volume(volume, root, "/way/a") is False
        assert fill_volume(volume, root, "/../../way") is True
        status = data.stat()
        assert (status.st_ino, status.st_uid, status.st_mode & 0o7777) == (before, 5, 0o1770)
        assert (data / "a").stat().st_nlink == 2
        assert (data / "out").readlink() == Path("/etc/passwd")
        (data / "a").write_text("mine")
        assert fill_volume(volume, root, "/data") is False, "it is not empty"
        assert (data / "a").read_text() == "mine"
        (volume / "filling").touch()
        assert fill_volume(volume, root, "/data") is True, "it was cut off"
        assert (data / "a").read_text() == "a"
        assert not (volume / "filling").exists()
        os.close(root)

    run(tmp_path, story)
