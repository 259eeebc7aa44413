"""What users see of the store: df, image tree, clean-up and check, on a whole instance."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from byhand import docker_archive, file, tar
from live import Live, running
from needs import require

DOCKERFILE = "FROM busybox\nRUN --mount=type=cache,target=/c echo made > /made && echo x > /c/x\n"


@pytest.fixture(scope="module")
def live(session_tag: str) -> Iterator[Live]:
    """An instance of these tests alone, which go on where the one before has ended."""
    require("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper")
    with running(f"wt{session_tag}s") as found:
        yield found


def du(live: Live) -> int:
    """What du(1) says of the state directory, in bytes."""
    words = ["du", "-s", "--block-size=1", str(live.instance.state)]
    return int(subprocess.run(words, capture_output=True, check=True, text=True).stdout.split()[0])


def context() -> bytes:
    """A build's context."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(DOCKERFILE)
        archive.addfile(info, io.BytesIO(DOCKERFILE.encode()))
    return out.getvalue()


def test_df_says_what_du_says(live: Live) -> None:
    live.wirt("run", "--name", "one", "-v", "kept:/kept", "busybox", "sh", "-c",
              "dd if=/dev/zero of=/big bs=1M count=3; echo x > /kept/x")  # fmt: skip
    live.pipe("build", "-t", "made", "-", feed=context())
    for _ in range(10):  # the log and the database may grow between the two
        before = du(live)
        report = json.loads(live.wirt("df", "--json").stdout)
        if before == report["total"] == du(live):
            break
    assert report["total"] == du(live)
    shares = {share["type"]: share for share in report["shares"]}
    assert sum(share["size"] for share in shares.values()) == report["total"]
    assert shares["Guests"]["size"] >= 3 * 1024**2
    assert shares["Guests"]["reclaimable"] == shares["Guests"]["size"]
    assert (shares["Images"]["total"], shares["Images"]["active"]) == (2, 1)
    assert shares["Volumes"]["active"] == 1
    assert shares["Build Cache"]["size"] > 0
    verbose = live.wirt("df", "-v").stdout
    assert "busybox:latest" in verbose
    assert "kept" in verbose
    assert "one" in live.wirt("df", "-v").stdout
    assert live.wirt("df", "--format", "{{.Type}}").stdout.split()[0] == "Images"


def test_the_tree_of_layers(live: Live) -> None:
    lines = live.wirt("image", "tree").stdout.splitlines()
    (base,) = [n for n, line in enumerate(lines) if "busybox:latest" in line]
    assert "made:latest" in lines[base + 1]


def test_clean_up(live: Live, tmp_path: Path) -> None:
    for number in (1, 2):
        archive = tmp_path / f"{number}.tar"
        archive.write_bytes(docker_archive(tar(file(f"{number}", bytes(300_000))), tags=["x:1"]))
        live.wirt("load", "-i", str(archive))
    done = live.wirt("image", "prune", "-f").stdout.splitlines()
    assert len(done) == 2
    assert done[0].startswith("Deleted: sha256:")
    assert "0B" not in done[1]
    assert live.wirt("image", "prune", "-af", "--filter", "label=none").stdout.count("\n") == 1
    live.wirt("image", "prune", "-f", "--filter", "sort=1", code=2)
    done = live.wirt("image", "prune", "-af").stdout.splitlines()
    assert "Untagged: x:1" in done
    assert "Untagged: made:latest" in done
    assert "Untagged: busybox:latest" not in done, "the guest was made from it"
    assert live.wirt("builder", "prune", "-f").stdout.startswith("Total reclaimed space: ")
    report = json.loads(live.wirt("df", "--json").stdout)
    assert [s["size"] for s in report["shares"] if s["type"] == "Build Cache"] == [0]


def test_trim(live: Live) -> None:
    layers = live.instance.state / "layers"
    live.wirt("tag", "busybox", "spare")
    (kept,) = layers.iterdir()
    assert live.wirt("store", "trim").stdout == "Total reclaimed space: 0B\n", "a guest uses it"
    assert list(layers.iterdir()) == [kept]
    live.wirt("rmi", "spare")


def test_check(live: Live) -> None:
    assert "0 wrong" in live.wirt("store", "check", "--deep").stdout
    layers = live.instance.state / "layers"
    (layer,) = layers.iterdir()
    changed = layer / "diff" / "extra"
    changed.write_text("not of the image")
    told = live.wirt("store", "check", code=0).stdout
    assert "0 wrong" in told
    told = live.wirt("store", "check", "--deep", code=1).stdout
    assert "'/extra' does not belong there" in told
    live.wirt("store", "check", "--deep", "--repair", code=1)  # the guest uses it
    live.wirt("rm", "-f", "one")
    told = live.wirt("store", "check", "--deep", "--repair").stdout
    assert "1 wrong, 1 repaired" in told
    assert list(layers.iterdir()) == []
    assert "0 wrong" in live.wirt("store", "check").stdout
    assert live.wirt("run", "--rm", "busybox", "ls", "/extra", code=1).stdout == ""
    assert "0 wrong" in live.wirt("store", "check", "--deep").stdout


def test_prune_of_everything(live: Live) -> None:
    live.wirt("run", "--name", "gone", "busybox", "true")
    live.wirt("network", "create", "spare")
    assert "add --force" in live.wirt("prune", code=2).stderr
    told = live.wirt("prune", "-af").stdout
    assert "Deleted guest: gone\n" in told
    assert "Deleted network: spare\n" in told
    assert "Untagged: busybox:latest\n" in told
    state = live.instance.state
    assert not list((state / "layers").iterdir())
    assert not list((state / "blobs" / "sha256").iterdir())
