#!/usr/bin/env python3
"""Measure columns of the office's day, keep what is valid, and write the reference page.

    bench/officeday.py --column polite --seeds 1,2,3     what is missing of a column
    bench/officeday.py --column polite --seeds 1 --policy governor --again
    bench/officeday.py --render                          only the page and its pictures

It may be ended at any moment and started again: every valid run is in the file at once, a disturbed
one is repeated and never kept. Needs root and a quiet machine. Columns: polite, backup, greedy,
cold, microvm, overlap, oom, failover, mixed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from wirt.bench import drive, picture, report, score  # noqa: E402 - found by the line above
from wirt.bench.outcome import Run  # noqa: E402
from wirt.bench.policies import ALL, Policy  # noqa: E402
from wirt.bench.targets import COLUMNS, of_column  # noqa: E402
from wirt.bench.workload import office  # noqa: E402

RESULTS = ROOT / "docs/reference/officeday.json"
PAGE = "officeday.md"
PICTURES = "officeday"


def main() -> int:
    args = _arguments()
    runs = report.load(args.file.read_text(), str(args.file)) if args.file.exists() else []
    if other := {run.seconds for run in runs} - {args.day}:
        print(f"{args.file} has days of {other.pop()} s: name another --file", file=sys.stderr)
        return 2
    policies = [Policy(name) for name in args.policy.split(",")] if args.policy else list(ALL)
    seeds = [] if args.render else [int(seed) for seed in args.seeds.split(",")]
    if args.again:
        runs = [r for r in runs if not _asked_for(r, args.column, seeds, policies)]
    for seed in seeds:
        runs = _column(args, runs, seed, policies)
    render(runs, args.file)
    have = {(run.seed, Policy(run.policy)) for run in _of(args, runs)}
    if missing := {(seed, policy) for seed in seeds for policy in policies} - have:
        print(f"{len(missing)} runs are still missing: the machine was not quiet", file=sys.stderr)
    return 1 if missing else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="measure columns of the office's day")
    parser.add_argument("--column", choices=sorted(COLUMNS), default="polite")
    parser.add_argument("--seeds", default="1,2,3", help="numbers, separated by commas")
    parser.add_argument("--policy", default="", help="policies, separated by commas; all of them")
    parser.add_argument("--day", type=int, default=96, help="seconds that the day takes")
    parser.add_argument("--attempts", type=int, default=3, help="of a run that was disturbed")
    parser.add_argument("--again", action="store_true", help="measure what is there already too")
    parser.add_argument("--render", action="store_true", help="write the page only")
    parser.add_argument("--file", type=Path, default=RESULTS, help="results; the page lies beside")
    return parser.parse_args()


def _of(args: argparse.Namespace, runs: Iterable[Run]) -> list[Run]:
    """The runs of the column with the asked-for day."""
    return [run for run in of_column(runs, args.column) if run.seconds == args.day]


def _asked_for(run: Run, column: str, seeds: Sequence[int], policies: Sequence[Policy]) -> bool:
    return bool(of_column([run], column)) and run.seed in seeds and Policy(run.policy) in policies


def _column(
    args: argparse.Namespace, runs: list[Run], seed: int, policies: Sequence[Policy]
) -> list[Run]:
    """All runs after measuring what is missing of one seed, the oracle first."""
    variant, guests = COLUMNS[args.column]
    for _ in range(args.attempts):
        have = {Policy(run.policy) for run in _of(args, runs) if run.seed == seed}
        missing = [policy for policy in policies if policy not in have]
        if not missing:
            break
        plan = drive.Plan(
            office=office(variant, guests=guests), scale=1.0, seconds=args.day, policies=missing,
            seeds=[seed],
        )  # fmt: skip
        with contextlib.closing(drive.measure(plan, _say)) as days:
            for run in days:
                runs = _kept(args, runs, run)
                if Policy(run.policy) is Policy.ORACLE and run.invalid:
                    break  # nothing of this seed counts without it
    return runs


def _kept(args: argparse.Namespace, runs: Sequence[Run], run: Run) -> list[Run]:
    """The runs with this one, which is told of, and written down when it is valid."""
    kept = report.merge(runs, [run])
    args.file.parent.mkdir(parents=True, exist_ok=True)
    _replace(args.file, report.document(kept))
    same = {Policy(one.policy): one for one in _of(args, kept) if one.seed == run.seed}
    _say(score.line(run, same))
    return kept


def _say(text: str) -> None:
    print(text, flush=True)


def render(runs: Sequence[Run], results: Path) -> None:
    """Write the page and the pictures beside the results."""
    if not runs:
        return
    place = results.parent / PICTURES
    place.mkdir(parents=True, exist_ok=True)
    for column in COLUMNS:
        found = of_column(runs, column)
        if not found:
            continue
        first = min(run.seed for run in found)
        shown = [run for policy in ALL for run in found if run.policy == policy.value]
        for name, text in picture.all_of([run for run in shown if run.seed == first]).items():
            _replace(place / f"{column}-{name}", text)
    _replace(results.parent / PAGE, report.page(runs, report.machine(), PICTURES))


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    made = path.with_name(path.name + ".new")
    made.write_text(text)
    made.replace(path)


if __name__ == "__main__":
    sys.exit(main())
