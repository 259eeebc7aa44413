"""Kill -9 wirtd at every step of a push to its registry and of a collection: no tag dangles, no
blob that is wanted is lost, no half blob is believed whole, and what is not wanted goes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from live import Live, faulted
from needs import needs, require

pytestmark = needs("root", "mountns", "netns", "overlay", "nft", "crun", "keeper", "busybox",
                   "skopeo")  # fmt: skip

ADDRESS = "127.0.0.1:5000"
SOURCES = Path(__file__).resolve().parents[2] / "src" / "wirt"
POINT = re.compile(r'\bfault\(\s*"((?:registry|store)\.[a-z-]+)"')
POINTS = sorted(
    {name for path in SOURCES.rglob("*.py") for name in POINT.findall(path.read_text("utf-8"))}
)


@pytest.fixture(scope="module")
def faulty(session_tag: str) -> Iterator[tuple[Live, Path]]:
    """A registry whose next fault is ordered by a file."""
    require("root", "netns", "mountns", "overlay", "nft", "crun", "busybox", "keeper")
    with faulted(f"wt{session_tag}g") as (live, order):
        live.wirt("registry", "serve", "--anonymous", "all")
        yield live, order


@pytest.fixture(scope="module")
def archive(faulty: tuple[Live, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image to push."""
    path = tmp_path_factory.mktemp("crash") / "image.tar"
    faulty[0].wirt("save", "-o", str(path), "busybox:latest")
    return path


def push(live: Live, archive: Path, name: str) -> bool:
    """Whether skopeo could push the image under this name."""
    target = f"docker://{ADDRESS}/{name}"
    words = ("--retry-times", "0", "--dest-tls-verify=false", f"docker-archive:{archive}")
    return live.inside("skopeo", "copy", "-q", *words, target).returncode == 0


def answers(live: Live) -> None:
    """Wait until the registry answers (again)."""
    deadline = time.monotonic() + 30
    while live.inside("curl", "-sf", f"http://{ADDRESS}/v2/").returncode != 0:
        assert time.monotonic() < deadline, live.log()
        time.sleep(0.1)


def check_whole(live: Live, folder: Path) -> set[str]:
    """Every tag of every repository can be pulled, with the right content; their names."""
    tags = set()
    for repository in live.ask("GET", "/v1/registry/repositories")[1]:
        for tag in repository["tags"]:
            name = f"{repository['name']}:{tag}"
            words = ("--src-tls-verify=false", f"docker://{ADDRESS}/{name}", f"dir:{folder}/copy")
            done = live.inside("skopeo", "copy", "-q", *words)
            assert done.returncode == 0, f"{name}: {done.stderr}"
            tags.add(name)
    return tags


def blobs(live: Live) -> set[str]:
    """Names of the files in the store; none half written."""
    assert not list((live.instance.state / "uploads").iterdir())
    return {path.name for path in (live.instance.state / "blobs").glob("*/*")}


def test_there_are_points() -> None:
    assert len(POINTS) >= 7


@pytest.mark.parametrize("point", POINTS)
def test_a_push_and_a_collection_cut_anywhere(
    faulty: tuple[Live, Path], archive: Path, tmp_path: Path, point: str
) -> None:
    live, order = faulty
    live.wirt("registry", "gc", "--grace", "0s")
    before = blobs(live)
    assert push(live, archive, "stays:1")
    order.write_text(point)
    done = push(live, archive, "cut:1")
    if done:  # the point is on the way of the collection
        live.wirt("registry", "rm", "cut", "stays")
        live.wirt("registry", "gc", "--grace", "0s", code=None)
    reached = order.read_text() == ""
    order.write_text("")
    assert reached, f"{point} is on nobody's way"
    answers(live)
    tags = check_whole(live, tmp_path)
    assert tags <= {"stays:1", "cut:1"}
    if not done:
        assert "stays:1" in tags
    assert push(live, archive, "cut:1")  # whatever was left of it is in nobody's way
    assert "cut:1" in check_whole(live, tmp_path)
    for name in {tag.partition(":")[0] for tag in check_whole(live, tmp_path)}:
        live.wirt("registry", "rm", name)
    live.wirt("registry", "gc", "--grace", "0s")
    assert blobs(live) == before
