"""Freezing control groups, with files of a fake kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.test_cgroup import GROUP, _files, _v1, _v2
from wirt.linux import cgroup


def test_freezing_a_group_that_is_gone(tmp_path: Path) -> None:
    for cgroups in (_v2(tmp_path / "2"), _v1(tmp_path / "1")):
        with pytest.raises(FileNotFoundError):
            cgroups.freeze("/wirt/gone", True)
        assert not cgroups.frozen("/wirt/gone")


def test_freezing_that_does_not_happen_is_undone(tmp_path: Path) -> None:
    cgroups = _v2(tmp_path)
    group = tmp_path / "wirt/abc"
    _files(group, cgroup__freeze="0", cgroup__events="populated 1\nfrozen 0\n")
    with pytest.raises(TimeoutError):
        cgroups.freeze(GROUP, True, timeout=0)
    assert (group / "cgroup.freeze").read_text() == "0"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_who_thaws_a_group_that_freezes_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """It may have stood still between two looks, or never."""
    v2 = version == "v2"
    cgroups = _v2(tmp_path) if v2 else _v1(tmp_path)
    group = tmp_path / ("wirt/abc" if v2 else "freezer/wirt/abc")
    name, freezing, thawed = ("cgroup.freeze", "1", "0") if v2 else (
        "freezer.state", "FREEZING", "THAWED"
    )  # fmt: skip
    _files(group, cgroup__events="populated 1\nfrozen 0\n")
    states = iter([freezing, freezing, thawed])
    monkeypatch.setattr(cgroup, "write_file", lambda path, _: path.write_text(freezing))
    monkeypatch.setattr(cgroup, "_pause", lambda: (group / name).write_text(next(states)))
    assert cgroups.freeze(GROUP, True) is False
    assert (group / name).read_text() == thawed
    assert next(states, None) is None
