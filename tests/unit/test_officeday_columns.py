"""``bench/officeday.py``: what is there is not measured again, what was disturbed is not kept."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from source import ROOT
from wirt.bench import drive, report
from wirt.bench.outcome import Count, Result, Run
from wirt.bench.policies import Policy


@pytest.fixture
def columns() -> ModuleType:
    spec = importlib.util.spec_from_file_location("officeday_columns", ROOT / "bench/officeday.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Days:
    """Stands in for :func:`wirt.bench.drive.measure`. ``spoil``: is this run, the how-manieth of
    its kind, disturbed?"""

    def __init__(self, spoil: Callable[[Policy, int], bool] = lambda policy, times: False) -> None:
        self.measured: list[tuple[int, str]] = []
        self._spoil = spoil

    def __call__(self, plan: drive.Plan, say: drive.Say) -> Generator[Run, None, None]:
        for seed in plan.seeds:
            for policy in plan.policies:
                self.measured.append((seed, policy.value))
                times = self.measured.count((seed, policy.value))
                count = Count(offered=10, done=10, met=10, p50=1, p99=2)
                results = tuple(
                    Result(name=name, antagonist=False, day=count, peak=count, hours=(None,) * 24)
                    for name in ("dc", "mail", "print", "erp")
                )
                run = Run(
                    variant=plan.office.variant, guests=plan.office.guests, policy=policy.value,
                    seed=seed, seconds=plan.seconds, scale=plan.scale, results=results,
                )  # fmt: skip
                yield replace(run, invalid=("noise",)) if self._spoil(policy, times) else run


def run(
    columns: ModuleType, monkeypatch: pytest.MonkeyPatch, days: Days, file: Path, *words: str
) -> int:
    monkeypatch.setattr(drive, "measure", days)
    argv = ["officeday.py", "--file", str(file), "--policy", "oracle,linux", *words]
    monkeypatch.setattr("sys.argv", argv)
    code: int = columns.main()
    return code


def kept(file: Path) -> list[tuple[int, str]]:
    return [(one.seed, one.policy) for one in report.load(file.read_text(), "file")]


def test_what_is_there_is_not_measured_again(
    columns: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "results.json"
    assert run(columns, monkeypatch, Days(), file, "--seeds", "1") == 0
    days = Days()
    assert run(columns, monkeypatch, days, file, "--seeds", "1,2") == 0
    assert days.measured == [(2, "oracle"), (2, "linux")]
    assert sorted(kept(file)) == [(1, "linux"), (1, "oracle"), (2, "linux"), (2, "oracle")]
    again = Days()
    words = ("--seeds", "1", "--policy", "linux", "--again")
    assert run(columns, monkeypatch, again, file, *words) == 0
    assert again.measured == [(1, "linux")]
    assert "Seeds 1, 2" in (tmp_path / "officeday.md").read_text()
    assert (tmp_path / "officeday/polite-requests.svg").exists()


def test_what_was_disturbed_is_repeated_and_not_kept(
    columns: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "results.json"
    once = Days(lambda policy, times: policy is Policy.LINUX and times == 1)
    assert run(columns, monkeypatch, once, file, "--seeds", "1") == 0
    assert once.measured == [(1, "oracle"), (1, "linux"), (1, "linux")]
    always = Days(lambda policy, times: policy is Policy.LINUX)
    assert run(columns, monkeypatch, always, file, "--seeds", "2", "--attempts", "2") == 1
    assert (2, "linux") not in kept(file)
    assert (2, "oracle") in kept(file)


def test_without_its_oracle_a_seed_is_not_begun(
    columns: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "results.json"
    days = Days(lambda policy, times: policy is Policy.ORACLE)
    assert run(columns, monkeypatch, days, file, "--seeds", "1", "--attempts", "2") == 1
    assert days.measured == [(1, "oracle"), (1, "oracle")]


def test_days_of_two_lengths_are_not_mixed(
    columns: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "results.json"
    assert run(columns, monkeypatch, Days(), file, "--seeds", "1") == 0
    days = Days()
    assert run(columns, monkeypatch, days, file, "--seeds", "1", "--day", "240") == 2
    assert days.measured == []


def test_the_page_can_be_written_alone(
    columns: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "results.json"
    assert run(columns, monkeypatch, Days(), file, "--seeds", "1") == 0
    (tmp_path / "officeday.md").unlink()
    days = Days()
    assert run(columns, monkeypatch, days, file, "--render") == 0
    assert days.measured == []
    assert (tmp_path / "officeday.md").exists()
