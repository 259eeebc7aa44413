"""Kill -9 at the steps of a RUN and of a commit: the next try works, and nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.test_crash import clean, faulty
from e2e.test_crash_verbs import Faulty, cut
from e2e.test_life import eventually
from live import Live

__all__ = ["faulty"]

DOCKERFILE = """\
FROM busybox
RUN echo {point} > /point
RUN --mount=type=cache,id={point},target=/c echo x >> /c/lines; wc -l < /c/lines > /count
RUN --mount=type=bind,from=busybox,target=/b ls /b/bin > /listed; rm /etc/group
"""


def leftovers(live: Live) -> list[str]:
    """Steps' guests, and what was half made, in the state directory."""
    state = live.instance.state
    found = [p.name for p in (state / "guests").iterdir()]
    for folder in ("layers", "caches"):
        if (state / folder).is_dir():
            found += [p.name for p in (state / folder).iterdir() if p.name.startswith(".")]
    return found


@pytest.mark.parametrize(
    "point",
    ["sources.one", "cache.made", "launch.mounted", "step.launched", "step.ended",
     "changes.packed", "changes.taken", "changes.adopted", "release.killed", "forget.released"],
)  # fmt: skip
def test_a_build(faulty: Faulty, point: str, tmp_path: Path) -> None:
    live, _ = faulty
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.format(point=point))
    words = ("build", "--no-cache", "-t", "cut:1", str(tmp_path))
    cut(faulty, point, *words)
    live.wirt(*words)
    try:
        said = live.wirt("run", "--rm", "cut:1", "sh", "-c", "cat /count; ls /etc/group; ls /c /b",
                         code=None)  # fmt: skip
        assert said.stdout.splitlines()[0] in {"1", "2"}
        assert "No such file" in said.stderr
        eventually(lambda: leftovers(live) == [])
    finally:
        live.wirt("rmi", "cut:1")
    clean(live)


@pytest.mark.parametrize(
    "point", ["changes.packed", "commit.packed", "commit.stored", "layer.unpacked"]
)
def test_a_commit(faulty: Faulty, point: str) -> None:
    live, _ = faulty
    live.wirt("run", "-d", "--name", "base", "busybox", "sh", "-c", "echo x > /x; sleep 1000")
    try:
        cut(faulty, point, "commit", "base", "cut:2")
        live.wirt("unpause", "base", code=None)
        live.wirt("commit", "base", "cut:2")
        assert live.wirt("run", "--rm", "cut:2", "cat", "/x").stdout == "x\n"
        assert live.wirt("exec", "base", "cat", "/x").stdout == "x\n"
    finally:
        live.wirt("rm", "-f", "base")
        live.wirt("rmi", "-f", "cut:2", code=None)
    assert leftovers(live) == []
    clean(live)
