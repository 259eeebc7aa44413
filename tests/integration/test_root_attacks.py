"""Images whose root is hostile: what the engine mounts on, opens or gives away must stay inside."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helperlab import LAYER, Lab, lab, whole
from needs import needs
from wirt.errors import Invalid, WirtError
from wirt.privileged.client import Helper

pytestmark = needs("root", "crun", "keeper", "overlay", "netns", "busybox", "nft")


@pytest.fixture
def box(instance_name: str, tmp_path: Path) -> Iterator[Lab]:
    with lab(instance_name, tmp_path) as made:
        yield made
        assert made.settled() == []


def _link_out(root: Path, name: str) -> None:
    path = root / name
    if path.is_dir():
        path.rmdir()
    path.symlink_to("/../../../../tmp")


def _pipe(root: Path, name: str) -> None:
    (root / name).unlink(missing_ok=True)
    os.mkfifo(root / name)


def _directory(root: Path, name: str) -> None:
    (root / name).mkdir()


def _device(root: Path, name: str) -> None:
    os.mknod(root / name, 0o600 | stat.S_IFCHR, os.makedev(1, 3))


HOSTILE: dict[str, tuple[Callable[[Path, str], None], str]] = {
    "/dev is a symbolic link": (_link_out, "dev"),
    "/proc is a symbolic link": (_link_out, "proc"),
    "/sys is a symbolic link": (_link_out, "sys"),
    "/etc/hosts is a pipe": (_pipe, "etc/hosts"),
    "/etc/resolv.conf is a directory": (_directory, "etc/resolv.conf"),
    "/etc/hostname is a device": (_device, "etc/hostname"),
    "/etc/passwd is not a regular file": (_pipe, "etc/passwd"),
}


@pytest.mark.parametrize("message", HOSTILE)
def test_hostile_roots_are_refused_and_undone(box: Lab, message: str) -> None:
    make, name = HOSTILE[message]
    make(box.layout.layers / LAYER.partition(":")[2] / "diff", name)

    async def story(helper: Helper) -> None:
        with pytest.raises(Invalid, match=message):
            await helper.call(box.launch(cards=1))
        assert box.settled() == []

    box.run(story)


PLACES = (
    "dev/null", "dev/pts", "dev/console", "dev/shm", "dev/ptmx", "proc/self", "proc/sys", "sys/fs",
    "etc/passwd", "etc/group", "etc/hosts", "etc/hostname", "etc/resolv.conf",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["file", "directory", "climbing"])
@pytest.mark.parametrize("name", PLACES)
def test_44_links_out_are_refused_or_confined(
    box: Lab, tmp_path: Path, name: str, kind: str
) -> None:
    """What an engine opens, mounts on or changes the owner of would be the host's."""
    canary = tmp_path / "canary"
    (canary / "within").mkdir(parents=True)
    (canary / "file").write_text("alive")
    (canary / "file").chmod(0o640)
    path = box.layout.layers / LAYER.partition(":")[2] / "diff" / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    target = canary / ("within" if kind == "directory" else "file")
    path.symlink_to("../" * 12 + str(target)[1:] if kind == "climbing" else target)
    before = [(each, each.lstat()) for each in sorted(canary.rglob("*"))]

    async def story(helper: Helper) -> None:
        script = f"echo dead > /{name}; echo dead > /{name}/x; chmod 777 /{name}; true"
        with contextlib.suppress(WirtError):
            await whole(box, helper, box.launch("sh", "-c", script, cards=1))

    box.run(story)
    assert (canary / "file").read_text() == "alive"
    after = [(each, each.lstat()) for each in sorted(canary.rglob("*"))]
    for (one, was), (other, now) in zip(before, after, strict=True):
        assert one == other
        assert (was.st_mode, was.st_uid, was.st_mtime_ns, was.st_ctime_ns) == (
            now.st_mode, now.st_uid, now.st_mtime_ns, now.st_ctime_ns
        )  # fmt: skip


def test_a_dangling_link_for_a_managed_file_stays_inside(box: Lab) -> None:
    root = box.layout.layers / LAYER.partition(":")[2] / "diff"
    (root / "etc/resolv.conf").symlink_to("../../../../../run/nothing/resolv.conf")

    async def story(helper: Helper) -> None:
        code, text = await whole(box, helper, box.launch("ls", "/etc"))
        assert code == 0, text

    box.run(story)
    assert not Path("/run/nothing").exists()
