"""What the daemon's user could prepare for the helper to stumble over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from needs import needs
from wirt.errors import Invalid
from wirt.layout import Layout
from wirt.linux.cgroup import Cgroups
from wirt.privileged.__main__ import make_directories
from wirt.privileged.bridges import check_name
from wirt.privileged.context import Context
from wirt.privileged.protocol import TreeUsage
from wirt.privileged.verbs.trees import tree_usage

USER = 65_534


def _layout(tmp_path: Path) -> Layout:
    return Layout(name="wt", state=tmp_path / "state", run=tmp_path / "run")


@needs("root")
def test_a_link_in_place_of_blobs_changes_nothing_elsewhere(tmp_path: Path) -> None:
    layout = _layout(tmp_path)
    make_directories(layout, USER, USER)
    victim = tmp_path / "victim"
    victim.mkdir(0o755)
    layout.blobs.rmdir()  # the daemon may: it is its own
    layout.blobs.symlink_to(victim)
    with pytest.raises(Invalid, match="is no directory"):
        make_directories(layout, USER, USER)
    about = victim.stat()
    assert (about.st_uid, about.st_mode & 0o777) == (0, 0o755)


@needs("root")
@pytest.mark.parametrize("link", [True, False])
def test_roots_directories_are_never_taken_over_from_the_daemon(tmp_path: Path, link: bool) -> None:
    layout = _layout(tmp_path)
    layout.state.mkdir()
    if link:
        layout.layers.symlink_to(tmp_path)
    else:
        layout.layers.mkdir()
        os.chown(layout.layers, USER, USER)
    with pytest.raises(Invalid, match=r"is no directory|is not root"):
        make_directories(layout, USER, USER)


@needs("root")
def test_the_daemon_can_replace_nothing_of_roots(tmp_path: Path) -> None:
    """Whatever root trusts is there, root's, and in a sticky directory, before the daemon runs."""
    layout = _layout(tmp_path)
    make_directories(layout, USER, USER)
    make_directories(layout, USER, USER)
    for top in (layout.state, layout.run):
        assert top.stat().st_mode & 0o1777 == 0o1771
        own = {path.name for path in top.iterdir() if path.stat().st_uid == USER}
        assert own == ({"blobs", "uploads"} if top == layout.state else set())
    assert {path.name for path in layout.run.iterdir()} == {
        "g",
        "crun",
        "view",
        "view-ids",
        "view-stubs",
        "net",
    }


@pytest.mark.parametrize("name", ["docker0", "br0", "wt-0", "wt-12345", "wt0\n", "../wt0", ""])
def test_guests_join_no_bridge_of_somebody_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="no bridge name"):
        check_name(_layout(tmp_path), name)
    for ours in ("wt0", "wt-1", "wt-9999"):
        check_name(_layout(tmp_path), ours)


@pytest.mark.parametrize("guest", ["../../../etc", "a" * 63, "A" * 64, ""])
def test_only_guests_are_measured(tmp_path: Path, guest: str) -> None:
    context = Context(
        layout=_layout(tmp_path), uid=USER, gid=USER, cgroups=Cgroups(v1={}, v2=None),
        keeper=Path("/bin/true"),
    )  # fmt: skip
    with pytest.raises(Invalid, match="invalid guest id"):
        tree_usage(context, TreeUsage(guests=(guest,)), ())
