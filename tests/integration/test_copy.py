"""Copying files into and out of containers, stopped and running, with hostile trees in the way."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import signal
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from filebench import (
    Bench,
    Entry,
    directory,
    docker_archive,
    file,
    hard_link,
    pieces,
    run,
    symlink,
    tar,
)  # fmt: skip
from needs import needs
from wirt.engine.container import first_id
from wirt.errors import Conflict, Forbidden, Invalid, NotFound, WirtError
from wirt.linux import libc
from wirt.model.guest import Guest, GuestSpec, GuestState, GuestStatus, Isolation
from wirt.model.volume import Mount, MountKind
from wirt.privileged.overlay import private_mounts
from wirt.privileged.protocol import LookAtPaths

pytestmark = needs("root", "overlay")

GUEST = "ab" * 32
BASE = (
    directory("etc"),
    file("etc/motd", b"hello", mode=0o640, uid=7, gid=8),
    hard_link("etc/motd2", "etc/motd"),
    symlink("etc/link", "motd"),
    symlink("abs", "/etc"),
    symlink("up", "../../../../etc"),
    symlink("dangling", "/nowhere"),
    Entry(name="fifo", type=tarfile.FIFOTYPE),
    directory("data"),
    file("data/image", b"from the image", uid=5),
)


async def made(b: Bench, *mounts: Mount, **spec: object) -> Guest:
    """A guest that never ran, of an image with :data:`BASE`."""
    (image,) = await b.load(docker_archive(tar(*BASE)))
    wish = replace(GuestSpec(image="made", mounts=mounts), **spec)  # type: ignore[arg-type]
    guest = Guest(id=GUEST, name="g", spec=wish, image_id=image.id, created_at=1)
    guest = await b.volumes.claim(guest, image)
    await b.add_guest(guest)
    (b.layout.state / "guests" / GUEST).mkdir(parents=True)
    return guest


async def out(b: Bench, guest: Guest, path: str) -> dict[str, tarfile.TarInfo]:
    data = b"".join([chunk async for chunk in b.archive.get(guest, path)])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {m.name: m for m in archive.getmembers()}


def test_names_in_the_archive_follow_docker(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        guest = await made(b)
        assert set(await out(b, guest, "/etc")) == {"etc", "etc/link", "etc/motd", "etc/motd2"}
        assert set(await out(b, guest, "/etc/")) == {"etc", "etc/link", "etc/motd", "etc/motd2"}
        assert set(await out(b, guest, "etc/.")) == {".", "./link", "./motd", "./motd2"}
        assert set(await out(b, guest, "/etc/link")) == {"link"}
        assert set(await out(b, guest, "/abs/motd")) == {"motd"}
        found = await out(b, guest, "/abs")
        assert (found["abs"].issym(), found["abs"].linkname) == (True, "/etc")
        followed = await out(b, guest, "/abs/")
        assert set(followed) == {"abs", "abs/link", "abs/motd", "abs/motd2"}
        motd = (await out(b, guest, "/etc"))["etc/motd"]
        assert (motd.mode, motd.uid, motd.gid, motd.size, motd.mtime) == (0o640, 7, 8, 5, 1_000_000)
        assert (await out(b, guest, "/etc"))["etc/motd2"].islnk()
        assert "./fifo" in await out(b, guest, "/.")

    run(tmp_path, story)


def test_stat_tells_what_is_there(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        guest = await made(b)
        found = await b.archive.stat(guest, "/etc/motd")
        assert (found.name, found.size, stat.S_IMODE(found.mode)) == ("motd", 5, 0o640)
        found = await b.archive.stat(guest, "/etc/link")
        assert (stat.S_ISLNK(found.mode), found.link_target) == (True, "/etc/motd")
        assert (await b.archive.stat(guest, "/up")).link_target == "/etc"
        assert stat.S_ISDIR((await b.archive.stat(guest, "/up/")).mode)
        for path, kind in (
            ("/nope", NotFound), ("/etc/motd/", Invalid), ("/etc/motd/x", Invalid),
            ("/dangling/x", NotFound), ("/a\0b", Invalid), ("/" + "x" * 5000, Invalid),
            ("/dangling/", NotFound),
        ):  # fmt: skip
            with pytest.raises(kind):
                await b.archive.stat(guest, path)

    run(tmp_path, story)


def test_files_come_in_with_the_owner_that_was_asked_for(tmp_path: Path) -> None:
    body = tar(directory("new"), file("new/x", b"x", uid=1000, gid=1000), file("y", mode=0o4755))

    async def story(b: Bench) -> None:
        guest = await made(b)
        await b.archive.put(guest, "/etc", pieces(body))
        found = await out(b, guest, "/etc")
        assert found["etc/new/x"].uid == 0
        assert found["etc/y"].mode == 0o4755
        assert found["etc/motd"].size == 5, "what was there stays"
        await b.archive.put(guest, "/abs", pieces(gzip.compress(body)), copy_uid_gid=True)
        assert (await out(b, guest, "/etc"))["etc/new/x"].uid == 1000
        assert (b.diff(await b.images.find("made")) / "etc/new").exists() is False

    run(tmp_path, story)


def test_a_directory_and_a_file_may_clash(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        guest = await made(b)
        for body in (tar(file("etc")), tar(directory("etc/motd"))):
            with pytest.raises(Conflict, match="cannot overwrite"):
                await b.archive.put(guest, "/", pieces(body), no_overwrite_dir_non_dir=True)
        await b.archive.put(guest, "/", pieces(tar(directory("etc/motd"))))
        assert (await out(b, guest, "/etc"))["etc/motd"].isdir()
        for path, kind in (("/nope", NotFound), ("/etc/motd2", Invalid), ("/dangling", NotFound)):
            with pytest.raises(kind):
                await b.archive.put(guest, path, pieces(tar(file("x"))))

    run(tmp_path, story)


@pytest.mark.parametrize(
    "body",
    [
        tar(file("../x")), tar(file("a/../../x")), tar(hard_link("x", "../../etc/shadow")),
        tar(hard_link("x", "nothing")), b"no tar at all" * 100, tar(file("x", b"x" * 9000))[:4000],
        gzip.compress(tar(file("x")))[:-9],
    ],
)  # fmt: skip
def test_hostile_archives_are_refused(tmp_path: Path, canary: Path, body: bytes) -> None:
    async def story(b: Bench) -> None:
        guest = await made(b)
        with pytest.raises(Invalid):
            await b.archive.put(guest, "/etc", pieces(body))
        assert (await out(b, guest, "/etc"))["etc/motd"].size == 5

    run(tmp_path, story)


def test_links_in_the_way_stay_inside(tmp_path: Path, canary: Path) -> None:
    body = tar(file("canary", b"dead"), file("sub/canary", b"dead"), symlink("abs", "/x"))

    async def story(b: Bench) -> None:
        guest = await made(b)
        first = tar(symlink("out", str(canary.parent)), symlink("sub", str(canary.parent)))
        await b.archive.put(guest, "/", pieces(first))
        with pytest.raises(NotFound):
            await b.archive.put(guest, "/out", pieces(body))
        await b.archive.put(guest, "/", pieces(body))
        inside = await out(b, guest, str(canary.parent) + "/.")
        assert set(inside) == {".", "./canary"}

    run(tmp_path, story)


def test_41_a_decompressor_of_the_image_is_not_run(tmp_path: Path, canary: Path) -> None:
    trojan = b"#!/bin/sh\nrm -rf %s\n" % os.fsencode(canary)
    names = ("unpigz", "gzip", "xz", "zstd", "tar")

    async def story(b: Bench) -> None:
        guest = await made(b)
        tools = tar(*(file(f"usr/bin/{name}", trojan, mode=0o755) for name in names))
        await b.archive.put(guest, "/", pieces(tools))
        for squeeze in (gzip.compress, lzma.compress):
            await b.archive.put(guest, "/etc", pieces(squeeze(tar(file("x", b"x")))))
        assert (await out(b, guest, "/etc"))["etc/x"].size == 1

    run(tmp_path, story)


def test_volumes_and_binds_of_a_stopped_guest_are_seen(tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    (host / "note").write_text("from the host")

    async def story(b: Bench) -> None:
        guest = await made(
            b,
            Mount(kind=MountKind.VOLUME, source="vol", target="/abs/vol"),
            Mount(kind=MountKind.BIND, source=str(host), target="/host", read_only=True),
        )
        await b.archive.put(guest, "/etc/vol", pieces(tar(file("in-volume", b"v"))))
        assert (b.layout.volumes / "vol/_data/in-volume").read_bytes() == b"v"
        assert "host/note" in await out(b, guest, "/host")
        assert "vol/in-volume" in await out(b, guest, "/etc/vol")
        with pytest.raises(Forbidden, match="read-only"):
            await b.archive.put(guest, "/host", pieces(tar(file("x"))))
        assert sorted(p.name for p in host.iterdir()) == ["note"]

    run(tmp_path, story)


def test_a_volume_is_read_where_the_image_has_no_place_for_it(tmp_path: Path) -> None:
    """Mount points are not kept in the guest's own layer, and reading writes nothing into it."""

    async def story(b: Bench) -> None:
        guest = await made(
            b,
            Mount(kind=MountKind.VOLUME, source="vol", target="/new/deep"),
            Mount(kind=MountKind.VOLUME, source="vol", target="/abs/linked"),
        )
        (b.layout.volumes / "vol/_data/file").write_text("kept")
        assert (await b.archive.stat(guest, "/new/deep/file")).size == 4
        assert "deep/file" in await out(b, guest, "/new/deep")
        assert "linked/file" in await out(b, guest, "/etc/linked")
        layer = b.diff(await b.images.find("made")).stat()
        assert (await out(b, guest, "/."))["."].mode == stat.S_IMODE(layer.st_mode)
        upper = b.layout.guest_state(GUEST) / "upper"
        assert not upper.exists() or list(upper.iterdir()) == []

    run(tmp_path, story)


@needs("userns")
def test_owners_of_a_guest_with_its_own_user_namespace(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        guest = await made(
            b, Mount(kind=MountKind.VOLUME, source="vol", target="/vol"), userns="private"
        )
        body = tar(file("mine", uid=3), file("vol/there"))
        await b.archive.put(guest, "/", pieces(body), copy_uid_gid=True)
        found = await out(b, guest, "/.")
        assert (found["./mine"].uid, found["./etc/motd"].uid) == (3, 7)
        upper = b.layout.guest_state(GUEST) / "upper"
        assert (upper / "mine").stat().st_uid == first_id(GUEST) + 3
        assert (b.layout.volumes / "vol/_data/there").stat().st_uid == 0

    run(tmp_path, story)


def test_machines_must_run(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        guest = await made(b, isolation=Isolation.MICROVM)
        with pytest.raises(Conflict, match="must run") as failure:
            await b.archive.stat(guest, "/etc")
        assert "wirt start g" in (failure.value.hint or "")

    run(tmp_path, story)


def test_what_is_at_a_path_of_the_host(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        paths = (str(tmp_path), "/etc/passwd", "/nowhere", "/etc/passwd/x")
        found, _ = await b.helper.call(LookAtPaths(paths=paths))
        assert tuple(found.paths[p] for p in paths) == ("directory", "file", "missing", "missing")
        with pytest.raises(Invalid):
            await b.helper.call(LookAtPaths(paths=("relative",)))

    run(tmp_path, story)


# --- while the guest runs -----------------------------------------------------------------------


@contextlib.contextmanager
def live(b: Bench, guest: Guest, root: Path, swap: tuple[str, str] | None = None) -> Iterator[None]:
    """A process whose root is ``root``, in the place of a running guest. It exchanges the two names
    of ``swap`` again and again, as a hostile guest would."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.setsid()
            private_mounts()
            libc.mount(root, root, flags=libc.MS_BIND)
            os.chroot(root)
            os.chdir("/")
            os.write(tell, b"1")
            while swap is None:
                signal.pause()
            one, other = map(Path, swap or ())
            while True:
                one.rename("/spare")
                other.rename(one)
                Path("/spare").rename(other)
        os._exit(1)
    try:
        assert os.read(ready, 1) == b"1"
        place = b.layout.guest_run(guest.id)
        place.mkdir(parents=True, exist_ok=True)
        (place / "pid").write_text(str(pid))
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(tell)


def running(guest: Guest) -> Guest:
    return replace(guest, status=GuestStatus(state=GuestState.RUNNING))


def trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's process is in no cgroup of a guest."""
    monkeypatch.setattr("wirt.privileged.view.Views._belongs", lambda *_: True)


def test_a_running_guest_is_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(monkeypatch)
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/live").write_text("now")

    async def story(b: Bench) -> None:
        guest = running(await made(b))
        with live(b, guest, root):
            assert set(await out(b, guest, "/etc")) == {"etc", "etc/live"}
            await b.archive.put(guest, "/etc", pieces(tar(file("x", b"x"))))
            assert (root / "etc/x").read_bytes() == b"x"
        with pytest.raises(Conflict, match="ended meanwhile"):
            await b.archive.stat(guest, "/etc")

    run(tmp_path, story)


def test_a_process_that_is_not_the_guests_is_not_entered(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        guest = running(await made(b))
        with live(b, guest, tmp_path), pytest.raises(Conflict, match="ended meanwhile"):
            await b.archive.stat(guest, "/etc")

    run(tmp_path, story)


def test_42_swapped_symlinks_lead_nowhere(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest exchanges a directory and a link to the host's directory while we copy."""
    trust(monkeypatch)
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a/inside").write_text("inside")
    (root / "b").symlink_to(tmp_path)

    async def story(b: Bench) -> None:
        guest = running(await made(b))
        reached = refused = 0
        with live(b, guest, root, swap=("/a", "/b")):
            for _ in range(60):
                with contextlib.suppress(WirtError):
                    await b.archive.put(guest, "/a", pieces(tar(file("canary", b"dead"))))
                try:
                    found = await out(b, guest, "/a/.")
                except WirtError:
                    refused += 1
                    continue
                reached += 1
                assert set(found) <= {".", "./inside", "./canary"}
                if "./canary" in found:
                    assert found["./canary"].size == 4, "the guest's own, not the host's"
        assert reached, "some copies hit the directory"

    run(tmp_path, story)


def test_special_files_do_not_hang_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(monkeypatch)
    root = tmp_path / "root"
    root.mkdir()
    os.mkfifo(root / "fifo")
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))

    async def story(b: Bench) -> None:
        guest = running(await made(b))
        with live(b, guest, root):
            found = await out(b, guest, "/.")
            assert (found["./fifo"].isfifo(), found["./null"].ischr()) == (True, True)

    run(tmp_path, story)
