"""Kill -9 at the steps of a pull and a push: nothing half is believed, nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.test_crash import answers, faulty
from e2e.test_crash_verbs import Faulty, archive, cut
from e2e.test_life import eventually
from live import Live
from needs import needs
from registrybox import Registry, registry

__all__ = ["archive", "faulty"]

pytestmark = needs("docker-registry", "skopeo")


@pytest.fixture(scope="module")
def served(
    faulty: Faulty, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """A registry with the image ``team/other:1``."""
    with registry(faulty[0], tmp_path_factory.mktemp("registry")) as found:
        found.push(f"docker-archive:{archive}", "team/other:1")
        yield found


def on_disk(live: Live) -> dict[str, set[str]]:
    """Names of what the store holds."""
    state = live.instance.state
    folders = {name: state / name for name in ("blobs/sha256", "uploads", "layers")}
    return {name: {path.name for path in folder.iterdir()} for name, folder in folders.items()}


@pytest.mark.parametrize(
    "point", ["pull.received", "layer.unpacked", "layer.renamed", "pull.transferred"]
)
def test_a_pull_that_is_cut(faulty: Faulty, served: Registry, point: str) -> None:
    live, _ = faulty
    name = f"{served.host}/team/other:1"
    before = on_disk(live)
    cut(faulty, point, "pull", name)
    assert "other" not in live.wirt("images").stdout
    assert on_disk(live)["uploads"] == set()
    live.wirt("pull", name)
    assert live.wirt("run", "--rm", name, "cat", "/hello").stdout == "hello\n"
    live.wirt("rmi", name)
    eventually(lambda: on_disk(live) == before)


def test_a_push_that_is_cut(faulty: Faulty, served: Registry) -> None:
    live, _ = faulty
    source, target = f"{served.host}/team/other:1", f"{served.host}/cut/other:1"
    live.wirt("pull", source)
    live.wirt("tag", source, target)
    try:
        cut(faulty, "push.blobs", "push", target)
        assert live.wirt("image", "inspect", "--remote", target, code=None).returncode != 0
        live.wirt("push", target)
        assert served.inspect("cut/other:1")["Digest"] == served.inspect("team/other:1")["Digest"]
    finally:
        eventually(lambda: answers(live))
        live.wirt("rmi", source, target)
