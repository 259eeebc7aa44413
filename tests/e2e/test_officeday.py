"""A short office day from the command line: work is done, the report is whole, nothing stays.

Figures are not judged here: other tests and other people use the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from live import ROOT, apart
from needs import needs
from wirt.bench import report
from wirt.bench.policies import Policy
from wirt.governor.journal import Frame
from wirt.governor.trace import Scene, decode

pytestmark = [
    needs("root", "netns", "mountns", "overlay", "nft", "crun", "keeper", "load", "fuse-disk"),
    pytest.mark.timeout(400),
]


def officeday(*words: str, name: str) -> subprocess.CompletedProcess[str]:
    with apart() as enter:
        return subprocess.run(
            [*enter, ROOT / "bin/wirt", "bench", "officeday", "--name", name, *words],
            capture_output=True, text=True, timeout=380, check=False,
        )  # fmt: skip


def test_a_short_day_is_served_and_told(instance_name: str, tmp_path: Path) -> None:
    done = officeday(
        "--day", "8s", "--scale", "0.25", "--policy", "oracle,governor", "--no-swap",
        "--json", f"{tmp_path}/day.json", "--plots", f"{tmp_path}/plots",
        "--traces", f"{tmp_path}/traces", name=instance_name,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr  # 1: the machine was busy
    runs = report.load((tmp_path / "day.json").read_text(), "day.json")
    assert [run.policy for run in runs] == ["oracle", "governor"]
    for run in runs:
        assert f"officeday polite container {run.policy}: done " in done.stdout
        assert [one.name for one in run.results] == ["dc", "mail", "print", "erp"]
        assert all(one.whole for one in run.results)
        assert run.total().offered > 100
        assert run.total().done > 0
        assert all(len(rows) > 10 for rows in run.series.values())
    offered = {run.policy: [one.day.offered for one in run.results] for run in runs}
    assert offered["oracle"] == offered["governor"]
    (kept,) = (tmp_path / "traces").iterdir()
    records = list(decode(kept.read_bytes().splitlines(keepends=True)))
    assert {
        label.name for one in records if isinstance(one, Scene) for label in one.labels.values()
    } >= {
        "dc",
        "mail",
        "print",
        "erp",
    }
    assert sum(isinstance(one, Frame) for one in records) > 20
    for file in (tmp_path / "plots").iterdir():
        ElementTree.fromstring(file.read_text())
    assert json.loads((tmp_path / "day.json").read_text())["machine"]["kernel"]
    gone = (Path("/var/tmp") / instance_name, Path("/run") / instance_name)
    assert not any(place.exists() for place in gone)


def test_what_a_killed_day_left_does_not_hinder_the_next(
    instance_name: str, tmp_path: Path
) -> None:
    words = ("--day", "60s", "--scale", "0.1", "--policy", "oracle", "--no-swap")
    command = [str(ROOT / "bin/wirt"), "bench", "officeday", "--name", instance_name, *words]
    with (
        apart() as enter,
        subprocess.Popen([*enter, *command], stdout=subprocess.PIPE, text=True) as first,
    ):
        assert first.stdout is not None
        assert "iterations" in first.stdout.readline()
        first.kill()
        first.wait()
        next_one = subprocess.run(
            [*enter, ROOT / "bin/wirt", "bench", "officeday", "--name", instance_name,
             "--day", "6s", *words[2:], "--json", tmp_path / "day.json"],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert next_one.returncode in {0, 1}, next_one.stdout + next_one.stderr
    runs = report.load((tmp_path / "day.json").read_text(), "day.json")
    assert [Policy(run.policy) for run in runs] == [Policy.ORACLE]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--policy", "fair"), "'fair'"),
        (("--seed", "1,x"), "'1,x'"),
        (("--scale", "much"), "'much'"),
        (("--scale", "nan"), "nan"),
        (("--scale", "1e30"), "1e+30"),
        (("--day", "1s"), "--day"),
        (("--variant", "rude"), "'rude'"),
        (("--scale", "64"), "64 cores"),
    ],
)
def test_wishes_without_sense_are_named(
    words: tuple[str, ...], told: str, instance_name: str
) -> None:
    done = subprocess.run(
        [ROOT / "bin/wirt", "bench", "officeday", "--name", instance_name, *words],
        capture_output=True, text=True, timeout=60, check=False, env={**os.environ},
    )  # fmt: skip
    assert done.returncode != 0
    assert told in done.stderr
    assert "hint:" in done.stderr
    assert not Path("/run", instance_name).exists()
