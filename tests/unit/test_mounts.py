"""What a guest's mounts are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirt.errors import Invalid
from wirt.model.volume import Mount, MountKind
from wirt.volume.mounts import anonymous_name, check_target, is_anonymous, plan_mounts

ID = "ef" * 32


def volume(target: str, source: str = "") -> Mount:
    return Mount(kind=MountKind.VOLUME, target=target, source=source)


def test_the_users_mounts_win_and_outer_ones_come_first() -> None:
    mounts = plan_mounts(
        ID, [volume("/data/inner", "in"), Mount(kind=MountKind.TMPFS, target="/run")],
        ["/run", "data", "/data/inner/"],
    )  # fmt: skip
    assert [(m.target, m.kind) for m in mounts] == [
        ("/data", MountKind.VOLUME), ("/run", MountKind.TMPFS), ("/data/inner", MountKind.VOLUME),
    ]  # fmt: skip
    assert mounts[2].source == "in"
    assert is_anonymous(ID, mounts[0])
    assert not is_anonymous(ID, mounts[2])


def test_nameless_volumes_have_one_name_per_guest_and_place() -> None:
    names = {anonymous_name(g, t) for g in (ID, "a" * 64) for t in ("/a", "/b")}
    assert len(names) == 4
    assert plan_mounts(ID, [volume("/a")], []) == plan_mounts(ID, [], ["/a/../a/"])


@pytest.mark.parametrize("target", ["/../../host", "/a/./b/../../../host"])
def test_46_places_stay_inside(target: str) -> None:
    assert plan_mounts(ID, [], [target])[0].target == "/host"


@pytest.mark.parametrize(
    "target",
    ["", "x", "/", "/..", "/proc", "/proc/1", "/sys/fs/cgroup", "/dev", "/a\0", "/" * 5000],
)
def test_46_places_that_nothing_may_cover(target: str) -> None:
    with pytest.raises(Invalid):
        plan_mounts(ID, [volume(target, "v")], [])


@pytest.mark.parametrize(
    "mount",
    [
        volume("/a", "../b"), volume("/a", "x" * 200),
        Mount(kind=MountKind.BIND, target="/a", source="relative"),
        Mount(kind=MountKind.BIND, target="/a", source=""),
        Mount(kind=MountKind.BIND, target="/a", source="/x\0"),
        Mount(kind=MountKind.TMPFS, target="/a", source="/x"),
    ],
)  # fmt: skip
def test_bad_sources(mount: Mount) -> None:
    with pytest.raises(Invalid):
        plan_mounts(ID, [mount], [])


def test_one_place_is_wanted_once() -> None:
    with pytest.raises(Invalid, match="/a"):
        plan_mounts(ID, [volume("/a", "x"), volume("/a/", "y")], [])


@given(st.text(alphabet="/.ab", max_size=20))
def test_a_place_is_absolute_and_normal_or_refused(text: str) -> None:
    try:
        target = check_target(text)
    except Invalid:
        return
    assert target.startswith("/")
    assert ".." not in target.split("/")
    assert check_target(target) == target
