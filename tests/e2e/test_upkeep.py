"""What the daemon does for the disk without being asked, on a whole instance."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import instance as local
from live import Live, running
from needs import require
from waiting import until

REGISTRY = "127.0.0.1:5000"


@pytest.fixture(scope="module")
def live(session_tag: str) -> Iterator[Live]:
    """An instance of these tests alone."""
    require("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper")
    with running(f"wt{session_tag}k") as found:
        yield found


def build(live: Live, name: str, base: str, data: bytes) -> None:
    """An image on a base with a file of its own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for place, content in (("Dockerfile", f"FROM {base}\nCOPY own /own\n".encode()),
                               ("own", data)):  # fmt: skip
            info = tarfile.TarInfo(place)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    live.pipe("build", "-q", "-t", name, "-", feed=out.getvalue())


def folders(live: Live, what: str) -> set[str]:
    return {path.name for path in (live.instance.state / what).iterdir()}


def blobs(live: Live) -> set[str]:
    return folders(live, "blobs/sha256")


def inode(live: Live) -> dict[str, int]:
    """Each unpacked layer with a number that is another one once it was unpacked again."""
    return {path.name: path.stat().st_ino for path in (live.instance.state / "layers").iterdir()}


def test_what_was_only_built_is_not_kept_unpacked(live: Live) -> None:
    live.wirt("run", "--rm", "busybox", "true")
    before = inode(live)
    assert len(before) == 1
    for number in range(3):
        build(live, f"built{number}", "busybox", os.urandom(100_000) + bytes(2_000_000))
    until(lambda: len(folders(live, "layers")) < 4, "what was built is let go")
    assert set(before) <= folders(live, "layers"), "a guest ran on it"
    for number in range(3):
        told = live.wirt("run", "--rm", f"built{number}", "wc", "-c", "/own").stdout
        assert told.split()[0] == "2100000"
    assert len(inode(live)) == 4
    assert "0 wrong" in live.wirt("store", "check", "--deep").stdout


def test_what_is_run_again_and_again_is_not_unpacked_again(live: Live) -> None:
    before = inode(live)
    build(live, "another", "busybox", os.urandom(1000) + bytes(2_000_000))
    until(lambda: folders(live, "layers") == set(before), "what was built is let go")
    for number in range(3):
        live.wirt("run", "--rm", f"built{number}", "true")
    assert inode(live) == before


def test_a_layer_that_was_removed_by_hand_is_unpacked_again(live: Live) -> None:
    layers = live.instance.state / "layers"
    for path in layers.iterdir():
        shutil.rmtree(path)
    assert live.wirt("run", "--rm", "built1", "ls", "/own").stdout == "/own\n"
    assert "0 wrong" in live.wirt("store", "check", "--deep").stdout


def test_a_daemon_that_is_killed_between_a_build_and_the_trim(live: Live) -> None:
    before = folders(live, "layers")
    build(live, "killed", "busybox", os.urandom(20_000_000))
    live.kill(local.DAEMON)
    until(lambda: folders(live, "layers") == before, "the next daemon does it")
    assert live.wirt("run", "--rm", "killed", "ls", "/own").stdout == "/own\n"


def test_what_is_deleted_from_the_registry_leaves_the_disk(live: Live, tmp_path: Path) -> None:
    assert live.wirt("registry", "serve", "--anonymous", "all").stdout == f"{REGISTRY}\n"
    live.wirt("builder", "prune", "-f")
    before = blobs(live)
    name = f"{REGISTRY}/team/own:1"
    build(live, name, "busybox", os.urandom(300_000))
    live.wirt("push", name)
    live.wirt("rmi", name)
    live.wirt("builder", "prune", "-f")
    assert len(blobs(live) - before) >= 3, "the registry has them"
    live.wirt("registry", "rm", "team/own:1")
    assert len(blobs(live) - before) >= 3, "a manifest stays without its tag"
    found = live.inside("curl", "-s", f"http://{REGISTRY}/v2/team/own/tags/list").stdout
    assert '"tags":[]' in found.replace(" ", "")
    live.wirt("registry", "rm", "team/own")
    until(lambda: blobs(live) <= before, "the blobs are gone")
    assert live.wirt("run", "--rm", "built1", "ls", "/own").stdout == "/own\n"
