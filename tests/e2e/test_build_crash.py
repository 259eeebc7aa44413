"""Kill -9 at the steps of a build: no half layer, no dangling name, and the next build works."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.test_crash import clean, faulty
from e2e.test_crash_verbs import Faulty, cut, layers
from e2e.test_life import eventually

__all__ = ["faulty"]

DOCKERFILE = """\
FROM busybox AS first
COPY f /f
RUN cat /f > /g
FROM busybox
WORKDIR /w
COPY --from=first /g .
RUN --mount=type=bind,source=f,target=/f cat /f /w/g > /both
"""


@pytest.mark.parametrize(
    "point",
    [
        "build.received", "build.packed", "build.made", "build.stored", "build.named",
        "layer.unpacked", "layer.renamed", "launch.mounted", "step.launched", "step.ended",
        "changes.packed", "changes.taken", "changes.adopted",
    ],
)  # fmt: skip
def test_a_build_cut_at_any_step(faulty: Faulty, point: str, tmp_path: Path) -> None:
    live, _ = faulty
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "f").write_text(f"{point}\n")
    before = layers(live)
    words = ("build", "-t", "cut:1", str(tmp_path))
    cut(faulty, point, *words)
    images = live.wirt("images", "-q").stdout.split()
    if "cut" in live.wirt("images").stdout:
        assert live.wirt("run", "--rm", "cut:1", "cat", "/both").stdout == f"{point}\n" * 2
    else:
        assert len(images) == 1  # busybox: what had no name yet is not there
    live.wirt(*words)
    assert live.wirt("run", "--rm", "cut:1", "cat", "/both").stdout == f"{point}\n" * 2
    assert "CACHED" in live.wirt(*words).stderr
    clean(live)
    live.wirt("rmi", "cut:1")
    uploads = live.instance.state / "uploads"
    eventually(lambda: not list(uploads.iterdir()))
    assert layers(live) >= before
