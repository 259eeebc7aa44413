"""What containers changed, as layers: the archive, unpacked again, is what the kernel showed."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import socket
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from filebench import (
    Bench,
    directory,
    docker_archive,
    file,
    hard_link,
    run,
    symlink,
    tar,
)  # fmt: skip
from needs import needs
from trees import difference, merged, snapshot
from wirt.errors import Conflict, Invalid
from wirt.host.pipe import chunks
from wirt.linux import procfs
from wirt.model.image import Image
from wirt.model.names import new_id
from wirt.privileged.overlay import mount_overlay, private_mounts
from wirt.privileged.protocol import (
    ApplyLayer,
    Done,
    ExportTree,
    ListChanges,
    PackChanges,
    PackedChanges,
    Verb,
)

pytestmark = needs("root", "overlay")

MANY = 100_000
BASE = tar(
    directory("etc"), file("etc/a", b"a"), file("etc/b", b"bb"), directory("etc/d", mode=0o700),
    file("etc/d/x", b"x"), file("etc/d/y", b"y"), directory("usr"), directory("usr/lib"),
    file("usr/lib/one", b"1"), hard_link("usr/lib/two", "usr/lib/one"), symlink("lib", "usr/lib"),
    directory("gone"), file("gone/deep", b"d"), directory("kept"), file("kept/k", b"k"),
    directory("turned"), file("turned/in", b"t"), file("plain", b"p"),
)  # fmt: skip
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


@dataclass(kw_only=True)
class Changed:
    """A guest's writable layer over an image's."""

    bench: Bench
    image: Image
    guest: str

    @property
    def state(self) -> Path:
        return self.bench.layout.guest_state(self.guest)

    @property
    def layers(self) -> list[Path]:
        return [self.bench.diff(self.image, n) for n in range(len(self.image.chain_ids))]

    def change(self, work: Callable[[], None]) -> None:
        """Do ``work`` in the guest's root, as a process of it would."""
        for name in ("upper", "work"):
            (self.state / name).mkdir(parents=True, exist_ok=True)
        root = self.layers[-1].stat()
        os.utime(self.state / "upper", ns=(root.st_mtime_ns, root.st_mtime_ns))
        spot = self.bench.layout.run / "spot"
        spot.mkdir(exist_ok=True)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                private_mounts()
                upper, work_place = self.state / "upper", self.state / "work"
                mount_overlay(spot, self.layers, upper=upper, work=work_place, flags=0)
                os.chroot(spot)
                os.chdir("/")
                os.umask(0o022)
                work()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0

    async def ask(self, verb: Verb[Any]) -> tuple[Any, bytes]:
        """A verb's answer and the bytes it wrote."""
        reader, writer = os.pipe()

        async def collect() -> bytes:
            return b"".join([chunk async for chunk in chunks(reader)])

        task = asyncio.ensure_future(collect())
        try:
            answer, _ = await self.bench.helper.call(verb, [writer])
        finally:
            os.close(writer)
            data = await task
            os.close(reader)
        return answer, data

    async def pack(
        self, *, epoch: int | None = None, adopt: bool = False, most: int = 10**9
    ) -> tuple[PackedChanges, bytes]:
        verb = PackChanges(
            id=self.guest,
            layers=self.image.chain_ids,
            epoch=epoch,
            adopt=adopt,
            max_bytes=most,
            max_entries=MANY,
        )
        answer, data = await self.ask(verb)
        assert isinstance(answer, PackedChanges)
        assert answer.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
        return answer, data

    async def unpacked(self, data: bytes) -> dict[str, Any]:
        """What a pull would make of the layer on top of the image."""
        blob = self.bench.layout.run / "blob"
        blob.write_bytes(data)
        chain_id = "sha256:" + hashlib.sha256(b"another" + data).hexdigest()
        verb = ApplyLayer(
            chain_id=chain_id,
            parents=self.image.chain_ids,
            expected="",
            max_bytes=10**9,
            max_entries=MANY,
        )
        with blob.open("rb") as archive:
            await self.bench.helper.call(verb, [archive.fileno()])
        place = self.bench.layout.layers / chain_id.removeprefix("sha256:") / "diff"
        return self.seen(place)

    def seen(self, top: Path) -> dict[str, Any]:
        spot = self.bench.layout.run / "spot"
        spot.mkdir(exist_ok=True)
        return merged([*self.layers, top], spot)


async def changed(b: Bench) -> Changed:
    (image,) = await b.load(docker_archive(BASE))
    return Changed(bench=b, image=image, guest=new_id())


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        return archive.getmembers()


def everything() -> None:
    """All kinds of changes that a process can make."""
    Path("/etc/a").unlink()
    Path("/etc/b").rename("/etc/c")
    Path("/etc/c").write_bytes(b"changed")
    for name in ("x", "y"):
        Path(f"/etc/d/{name}").unlink()
    Path("/etc/d").rmdir()
    Path("/etc/d").mkdir(0o750)
    Path("/etc/d/x").write_bytes(b"new x")
    Path("/gone/deep").unlink()
    Path("/gone").rmdir()
    Path("/turned/in").unlink()
    Path("/turned").rmdir()
    Path("/turned").symlink_to("kept")
    Path("/plain").unlink()
    Path("/plain").mkdir()
    Path("/plain/inside").write_bytes(b"i")
    Path("/lib/three").write_bytes(b"3")
    Path("/kept").chmod(0o1777)
    Path("/new/deep/er").mkdir(parents=True)
    Path("/new/suid").write_bytes(b"#!")
    os.chown("/new/suid", 12, 2_000_000)
    Path("/new/suid").chmod(0o4755)
    os.setxattr("/new/suid", "security.capability", CAPABILITY)
    os.setxattr("/new", "user.note", b"n\0n")
    Path("/new/deep/twin").hardlink_to("/new/suid")
    os.mknod("/new/pipe", 0o010644)
    os.mknod("/new/null", 0o020666, os.makedev(1, 3))
    Path("/new/away").symlink_to("/etc/passwd")
    Path("/new/" + "long" * 60).write_bytes(b"l")
    Path(os.fsdecode(b"/new/no\xffutf\n8")).write_bytes(b"u")
    with Path("/new/sparse").open("wb") as sparse:
        sparse.truncate(3_000_000)
        sparse.seek(2_000_000)
        sparse.write(b"data")
    os.utime("/new/sparse", ns=(5, 1_234_567_890_123_456_789))


def test_the_archive_is_what_the_kernel_showed(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        one = await changed(b)
        one.change(everything)
        done, data = await one.pack()
        assert done.exact
        seen, again = one.seen(one.state / "upper"), await one.unpacked(data)
        del seen["."], again["."]  # the time of the root is not part of a layer
        assert difference(seen, again) == []
        names = [m.name for m in members(data)]
        assert "etc/.wh.a" in names
        assert "etc/d/.wh.y" in names
        assert not any(name.endswith(".wh..wh..opq") for name in names)
        assert "kept/k" not in names
        assert "usr/lib/one" not in names

    run(tmp_path, story)


def test_the_same_changes_give_the_same_bytes(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        one, two = await changed(b), await changed(b)
        one.change(everything)
        await asyncio.sleep(0.02)
        two.change(everything)
        first, second = await one.pack(epoch=1_000_000), await two.pack(epoch=1_000_000)
        assert first == second
        assert max(m.mtime for m in members(first[1])) <= 1_000_000
        assert (await one.pack()) != (await two.pack())

    run(tmp_path, story)


def test_an_adopted_layer_is_what_its_archive_says(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        one = await changed(b)
        one.change(everything)
        done, data = await one.pack(epoch=1_000_000, adopt=True)
        text = f"{one.image.chain_ids[-1]} {done.diff_id}"
        assert done.chain_id == "sha256:" + hashlib.sha256(text.encode()).hexdigest()
        assert not (one.state / "upper").exists()
        place = b.layout.layers / done.chain_id.removeprefix("sha256:") / "diff"
        assert difference(one.seen(place), await one.unpacked(data)) == []

    run(tmp_path, story)


def test_what_no_archive_can_say_is_not_adopted(tmp_path: Path) -> None:
    def listen() -> None:
        socket.socket(socket.AF_UNIX).bind("/socket")
        Path("/file").write_bytes(b"f")

    async def story(b: Bench) -> None:
        one = await changed(b)
        one.change(listen)
        done, data = await one.pack(adopt=True)
        assert (done.exact, done.chain_id) == (False, "")
        assert [m.name for m in members(data)] == ["file"]
        assert (one.state / "upper/file").exists()

    run(tmp_path, story)


def test_nothing_changed_is_an_empty_archive(tmp_path: Path) -> None:
    def touch_and_remove() -> None:
        before = Path("/etc").stat()
        Path("/etc/new").write_bytes(b"")
        Path("/etc/new").unlink()
        os.utime("/etc", ns=(before.st_atime_ns, before.st_mtime_ns))

    async def story(b: Bench) -> None:
        one = await changed(b)
        assert (await one.pack())[0].entries == 0  # it never ran
        one.change(touch_and_remove)
        assert (one.state / "upper/etc").is_dir()
        done, data = await one.pack()
        assert (done.entries, data) == (0, bytes(1024))

    run(tmp_path, story)


def test_limits_and_reserved_names_are_refused(tmp_path: Path) -> None:
    def large() -> None:
        with Path("/large").open("wb") as sparse:
            sparse.truncate(2**40)

    async def story(b: Bench) -> None:
        one, two = await changed(b), await changed(b)
        one.change(large)
        with pytest.raises(Invalid, match="unpacks to more than"):
            await one.pack()
        two.change(Path("/etc/.wh.passwd").touch)
        with pytest.raises(Invalid, match=r"\.wh\.passwd"):
            await two.pack()

    run(tmp_path, story)


def test_changes_are_listed_as_docker_does(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        one = await changed(b)
        one.change(everything)
        answer, data = await one.ask(ListChanges(id=one.guest, layers=one.image.chain_ids))
        assert answer == Done()
        lines = [json.loads(line) for line in data.splitlines()]
        found = {path: kind for kind, path, _, _ in lines}
        expected = {
            "/etc": "C", "/etc/a": "D", "/etc/b": "D", "/etc/c": "A", "/etc/d": "C",
            "/etc/d/x": "C", "/etc/d/y": "D", "/gone": "D", "/turned": "C", "/plain": "C",
            "/plain/inside": "A", "/usr": "C", "/usr/lib": "C", "/usr/lib/three": "A", "/kept": "C",
            "/new": "A",
        }  # fmt: skip
        assert {path: found.get(path) for path in expected} == expected
        assert ["C", "/etc/d/x", 5, 1] in lines

    run(tmp_path, story)


def test_two_images_are_compared(tmp_path: Path) -> None:
    top = tar(file("etc/a", b"longer"), file("etc/.wh.b"), file("etc/new", b"123"))

    async def story(b: Bench) -> None:
        (one,) = await b.load(docker_archive(BASE, tags=["one"]))
        (two,) = await b.load(docker_archive(BASE, top, tags=["two"]))
        helper = Changed(bench=b, image=one, guest="")
        verb = ListChanges(layers=one.chain_ids, other=two.chain_ids)
        lines = [json.loads(line) for line in (await helper.ask(verb))[1].splitlines()]
        assert lines == [
            ["C", "/etc", 0, 0],
            ["D", "/etc/b", 0, 2],
            ["C", "/etc/a", 6, 1],
            ["A", "/etc/new", 3, 0],
        ] or lines == [
            ["D", "/etc/b", 0, 2],
            ["C", "/etc/a", 6, 1],
            ["A", "/etc/new", 3, 0],
        ]
        same = ListChanges(layers=two.chain_ids, other=two.chain_ids)
        assert (await helper.ask(same))[1] == b""

    run(tmp_path, story)


def test_the_whole_root_is_exported(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        one = await changed(b)
        one.change(everything)
        _, data = await one.ask(ExportTree(id=one.guest, layers=one.image.chain_ids))
        place = tmp_path / "out"
        place.mkdir()
        with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
            archive.extractall(place, numeric_owner=True)
        there, seen = snapshot(place), one.seen(one.state / "upper")
        assert there.keys() == seen.keys()
        assert there["etc/c"][4] == seen["etc/c"][4]

    run(tmp_path, story)


def test_a_running_guest_cannot_be_adopted(tmp_path: Path) -> None:
    async def story(b: Bench) -> None:
        one = await changed(b)
        one.change(everything)
        place = b.layout.guest_run(one.guest)
        place.mkdir(parents=True)
        start = procfs.start_time(os.getpid())
        facts = {"pid": os.getpid(), "start": start, "network": "private"}
        (place / "launch.json").write_text(json.dumps(facts))
        with pytest.raises(Conflict):
            await one.pack(adopt=True)
        assert (await one.pack())[0].exact

    run(tmp_path, story)
