#!/usr/bin/env python3
"""Measure the promises, beside docker and podman, in turn in one run.

    bench/run.py                       wirt alone
    bench/run.py --peers               install and measure docker and podman beside it
    bench/run.py --only run-rm,exec    some rows
    bench/run.py --rounds 5            fewer samples, for a quick look

Results: ``build/bench/result.json``; with all peers also ``docs/reference/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import builds
import disk
import governing
import machines
import monitor
import registry
import rows
import transfer
from measure import Row, load
from peers import LAB, ROOT, Docker, Peer, Podman, Wirt, install_packages
from report import as_json, as_markdown

Measure = Callable[[Sequence[Peer], int], Row | list[Row]]

TABLE: dict[str, tuple[Measure, float]] = {
    "daemon-fresh": (rows.daemon_fresh, 1),
    "run-rm": (rows.run_rm, 1),
    "api": (rows.api_life, 1),
    "exec": (rows.exec_true, 1),
    "fifty": (rows.fifty, 0.2),
    "idle": (rows.idle_cost, 1),
    "logs": (rows.logs, 1),
    "attached": (rows.attached, 1),
    "build": (builds.ten_steps, 1),
    "microvm": (machines.cold, 1),
    "monitor": (monitor.asked, 1),
    "decision": (governing.decision, 1),
    "governed": (governing.fifty, 0.25),
    "images": (transfer.images, 0.25),
    "disk": (disk.derived, 1),
    "registry": (registry.blobs, 0.25),
    "two-hundred": (rows.two_hundred, 1),
}
"""What measures a row (or several), and the share of the rounds that it takes."""


def main() -> int:
    parser = argparse.ArgumentParser(description="measure the promises")
    parser.add_argument("--peers", action="store_true", help="measure docker and podman too")
    parser.add_argument("--only", default=",".join(TABLE), help="rows, separated by commas")
    parser.add_argument("--rounds", type=int, default=20, help="samples per row")
    args = parser.parse_args()
    chosen = args.only.split(",")
    if unknown := set(chosen) - set(TABLE):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(TABLE)}")
    if args.peers:
        install_packages()
    others: list[Peer] = [Docker(), Podman()] if args.peers else []
    peers: list[Peer] = [Wirt(), *others]
    found: list[Row] = []
    before = load()
    LAB.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for peer in peers:
            stack.callback(peer.stop)
            peer.start()
        for key in chosen:
            measure, share = TABLE[key]
            result = measure(peers, max(1, round(args.rounds * share)))
            for row in result if isinstance(result, list) else [result]:
                found.append(row)
                told = {peer: f"{row.median(peer):.3g} {row.unit}" for peer in row.samples}
                print(f"{row.title}: {told} -> {row.verdict()}", flush=True)
    loads = {"before": before, "after": load()}
    (LAB / "result.json").write_text(as_json(found, loads=loads))
    if args.peers and set(chosen) == set(TABLE):
        (ROOT / "docs/reference/benchmarks.md").write_text(as_markdown(found, loads=loads))
    return 0


if __name__ == "__main__":
    sys.exit(main())
